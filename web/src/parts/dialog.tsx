import { Button, Group, Modal, Stack } from '@mantine/core'
import type { ReactNode } from 'react'
import { Failure } from './states.tsx'

export interface DialogProps {
  isOpen: boolean
  close: () => void
}

interface DialogFrame extends DialogProps {
  title: string
  problem: Error | null
  submit: () => void
  isBusy: boolean
  word: string
  children: ReactNode
}

/** A form over the page: what it failed with stands above its two buttons. */
export function Dialog({ title, isOpen, close, problem, submit, isBusy, word, children }: DialogFrame) {
  return (
    <Modal
      opened={isOpen}
      onClose={close}
      title={title}
      closeButtonProps={{ 'aria-label': 'close' }}
      attributes={{ header: { role: 'presentation' } }}
    >
      <form
        onSubmit={(event) => {
          event.preventDefault()
          submit()
        }}
      >
        <Stack>
          {children}
          {problem && <Failure error={problem} />}
          <Group justify="flex-end">
            <Button variant="default" onClick={close}>
              Cancel
            </Button>
            <Button type="submit" loading={isBusy}>
              {word}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  )
}
