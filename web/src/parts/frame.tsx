import {
  ActionIcon,
  AppShell,
  Box,
  Button,
  Group,
  Kbd,
  Menu,
  Modal,
  Stack,
  Table,
  Text,
  TextInput,
  useMantineColorScheme,
} from '@mantine/core'
import { useHotkeys, useMediaQuery } from '@mantine/hooks'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { type ReactNode, useEffect, useRef, useState } from 'react'
import { Link, useLocation } from 'wouter'
import { api, get } from '../api.ts'
import type { Overview, User } from '../types.ts'
import { ago } from '../words.ts'
import { Icon, type IconName } from './icons.tsx'
import { Notice } from './notice.tsx'
import { sentence } from './states.tsx'

const places: { path: string; name: string; icon: IconName; letter: string }[] = [
  { path: '/', name: 'Overview', icon: 'overview', letter: 'o' },
  { path: '/certificates', name: 'Certificates', icon: 'certificates', letter: 'c' },
  { path: '/jobs', name: 'Jobs', icon: 'jobs', letter: 'j' },
  { path: '/backups', name: 'Backups', icon: 'backups', letter: 'b' },
  { path: '/issuers', name: 'Issuers', icon: 'issuers', letter: 'i' },
  { path: '/deploy', name: 'Deploy', icon: 'deploy', letter: 'd' },
  { path: '/notify', name: 'Notify', icon: 'notify', letter: 'n' },
  { path: '/audit', name: 'Audit', icon: 'audit', letter: 'a' },
  { path: '/settings', name: 'Settings', icon: 'settings', letter: 's' },
]

export function Frame({ user, children }: { user: User; children: ReactNode }) {
  const isNarrow = useMediaQuery('(max-width: 48em)', window.innerWidth < 768, { getInitialValueInEffect: false })
  const [showsHelp, setShowsHelp] = useState(false)
  const search = useRef<HTMLInputElement>(null)
  useKeys(
    () => search.current?.focus(),
    () => setShowsHelp(true),
  )
  return (
    <AppShell header={{ height: 56 }} navbar={{ width: 200, breakpoint: 'sm', collapsed: { mobile: true } }} padding="md">
      <AppShell.Header px="md" className="no-print">
        <Group h="100%" justify="space-between" wrap="nowrap" gap="md">
          <Link href="/" aria-label="CertAutopilot, overview" className="plain">
            <Group gap="xs" wrap="nowrap" c="var(--mantine-color-text)">
              <img src="/icon.svg" width={28} height={28} alt="" />
              {!isNarrow && <Text fw={650}>CertAutopilot</Text>}
            </Group>
          </Link>
          <Search field={search} />
          <UserMenu user={user} showHelp={() => setShowsHelp(true)} />
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="sm" className="no-print">
        {!isNarrow && (
          <nav className="rail" aria-label="main">
            {places.map((place) => (
              <Place key={place.path} {...place} />
            ))}
          </nav>
        )}
      </AppShell.Navbar>
      <AppShell.Main>
        <div className="content">
          <Banner />
          {children}
        </div>
      </AppShell.Main>
      {isNarrow && (
        <nav className="bar no-print" aria-label="main">
          {places.slice(0, 5).map((place) => (
            <Place key={place.path} {...place} />
          ))}
        </nav>
      )}
      <Help isOpen={showsHelp} close={() => setShowsHelp(false)} />
    </AppShell>
  )
}

function Place({ path, name, icon }: (typeof places)[number]) {
  const [location] = useLocation()
  const isHere = path === '/' ? location === '/' : location.startsWith(path)
  return (
    <Link href={path} aria-current={isHere ? 'page' : undefined}>
      <Icon name={icon} />
      <span>{name}</span>
    </Link>
  )
}

function Search({ field }: { field: React.RefObject<HTMLInputElement | null> }) {
  const [, go] = useLocation()
  return (
    <Box component="form" flex={1} maw={420} role="search" onSubmit={(event: React.FormEvent) => event.preventDefault()}>
      <TextInput
        ref={field}
        size="sm"
        leftSection={<Icon name="search" size={16} />}
        placeholder="Search certificates"
        aria-label="Search certificates"
        rightSection={<Kbd size="xs">/</Kbd>}
        onKeyDown={(event) => {
          if (event.key === 'Enter') go(`/certificates?search=${encodeURIComponent(event.currentTarget.value)}`)
          if (event.key === 'Escape') event.currentTarget.blur()
        }}
      />
    </Box>
  )
}

function UserMenu({ user, showHelp }: { user: User; showHelp: () => void }) {
  const { colorScheme, setColorScheme } = useMantineColorScheme()
  const queries = useQueryClient()
  const [, go] = useLocation()
  const logOut = async () => {
    await api('POST', '/auth/logout').catch(() => {})
    go('/')
    queries.setQueryData(['me'], null)
    queries.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== 'me' && queryKey[0] !== 'setup' })
  }
  return (
    <Menu position="bottom-end" width={220}>
      <Menu.Target>
        <ActionIcon variant="default" size={36} radius="xl" aria-label={`menu of ${user.email}`}>
          {user.email.charAt(0).toUpperCase()}
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>
          {user.email}, {user.role}
        </Menu.Label>
        <Menu.Item onClick={() => go('/deploy')}>Deploy</Menu.Item>
        <Menu.Item onClick={() => go('/notify')}>Notify</Menu.Item>
        <Menu.Item onClick={() => go('/audit')}>Audit</Menu.Item>
        <Menu.Item onClick={() => go('/settings')}>Settings</Menu.Item>
        <Menu.Divider />
        {(['light', 'dark', 'auto'] as const).map((scheme) => (
          <Menu.Item key={scheme} onClick={() => setColorScheme(scheme)} aria-pressed={colorScheme === scheme}>
            {colorScheme === scheme ? '✓ ' : ''}
            {{ light: 'Light', dark: 'Dark', auto: 'As the system' }[scheme]}
          </Menu.Item>
        ))}
        <Menu.Divider />
        <Menu.Item onClick={showHelp}>Keyboard shortcuts</Menu.Item>
        <Menu.Item onClick={logOut}>Log out</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  )
}

/** On every page, as long as the service acts on nothing. */
function Banner() {
  const { data } = useQuery({ queryKey: ['overview'], queryFn: () => get<Overview>('/overview'), refetchInterval: 30_000 })
  const queries = useQueryClient()
  const [failure, setFailure] = useState('')
  if (!data?.safe_mode) return null
  const release = () =>
    api('POST', '/restore/release')
      .then(() => queries.invalidateQueries())
      .catch((error: Error) => setFailure(error.message))
  return (
    <Notice
      kind="soon"
      title="Safe mode"
      action={
        <Button size="xs" variant="default" onClick={release}>
          Release: let it act again
        </Button>
      }
    >
      {sentence(data.safe_mode.reason)}, {ago(data.safe_mode.since)}. Nothing is issued, renewed or revoked until it is released.{' '}
      {failure}
    </Notice>
  )
}

function useKeys(focusSearch: () => void, showHelp: () => void) {
  const [, go] = useLocation()
  const started = useRef(0)
  useHotkeys([
    ['/', focusSearch],
    ['shift+?', showHelp],
    ['?', showHelp],
    [
      'g',
      () => {
        started.current = Date.now()
      },
    ],
  ])
  useEffect(() => {
    const listen = (event: KeyboardEvent) => {
      const place = places.find(({ letter }) => letter === event.key)
      const isTyping = event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement
      if (place === undefined || isTyping || Date.now() - started.current > 1_000) return
      started.current = 0
      go(place.path)
    }
    window.addEventListener('keydown', listen)
    return () => window.removeEventListener('keydown', listen)
  }, [go])
}

function Help({ isOpen, close }: { isOpen: boolean; close: () => void }) {
  return (
    <Modal
      opened={isOpen}
      onClose={close}
      title="Keyboard shortcuts"
      closeButtonProps={{ 'aria-label': 'close' }}
      attributes={{ header: { role: 'presentation' } }}
    >
      <Stack>
        <Table>
          <Table.Tbody>
            <Table.Tr>
              <Table.Td>
                <Kbd>/</Kbd>
              </Table.Td>
              <Table.Td>search certificates</Table.Td>
            </Table.Tr>
            {places.map(({ letter, name }) => (
              <Table.Tr key={letter}>
                <Table.Td>
                  <Kbd>g</Kbd> <Kbd>{letter}</Kbd>
                </Table.Td>
                <Table.Td>{name}</Table.Td>
              </Table.Tr>
            ))}
            <Table.Tr>
              <Table.Td>
                <Kbd>?</Kbd>
              </Table.Td>
              <Table.Td>this list</Table.Td>
            </Table.Tr>
          </Table.Tbody>
        </Table>
      </Stack>
    </Modal>
  )
}
