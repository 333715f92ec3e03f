import { Button, Stack, Text } from '@mantine/core'
import { useMutation } from '@tanstack/react-query'
import { api } from '../api.ts'
import { type Kit, KitShown } from '../parts/kit.tsx'
import { Card, PageHead } from '../parts/page.tsx'
import { Failure } from '../parts/states.tsx'

/** For an owner who has skipped this at the first run, as long as the kit is still on the host. */
export function RecoveryKitPage() {
  const show = useMutation({ mutationFn: () => api<Kit>('POST', '/recovery-kit') })
  return (
    <>
      <PageHead title="Recovery kit" />
      <Card>
        <Stack>
          <Text className="no-print">
            It opens every bundle of this installation when this host is gone. Print or save it, keep it somewhere else, then remove
            the file from this host. That it was shown is written into the audit log.
          </Text>
          {show.isError && <Failure error={show.error} />}
          {show.data ? (
            <KitShown kit={show.data} />
          ) : (
            <div>
              <Button loading={show.isPending} onClick={() => show.mutate()}>
                Show it
              </Button>
            </div>
          )}
        </Stack>
      </Card>
    </>
  )
}
