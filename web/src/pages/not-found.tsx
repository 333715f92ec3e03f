import { Anchor } from '@mantine/core'
import { Link } from 'wouter'
import { PageHead } from '../parts/page.tsx'
import { Empty } from '../parts/states.tsx'

export function NotFoundPage() {
  return (
    <>
      <PageHead title="Not found" />
      <Empty
        title="There is no such page"
        text="The address may be old, or it was cut."
        action={
          <Anchor component={Link} href="/">
            Overview
          </Anchor>
        }
      />
    </>
  )
}
