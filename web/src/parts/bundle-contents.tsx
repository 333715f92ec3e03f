import { Code, Table, Text } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { get } from '../api.ts'
import type { BundleContents } from '../types.ts'
import { bytes, count } from '../words.ts'
import { Failure, Waiting } from './states.tsx'

/** What a bundle holds, by its manifest. */
export function Contents({ name }: { name: string }) {
  const contents = useQuery({
    queryKey: ['backups', name],
    queryFn: () => get<BundleContents>(`/backups/${encodeURIComponent(name)}`),
  })
  if (contents.isError) return <Failure error={contents.error} retry={contents.refetch} />
  if (contents.data === undefined) return <Waiting rows={4} />
  const { app_version, collections, database, engine, epoch, kek_versions, members, recipients, signer } = contents.data
  const keys = kek_versions.map(({ version, opened, envelopes }) => `v${version} opened ${count(opened)} of ${count(envelopes)}`)
  const facts: [string, string][] = [
    ['Database', `${engine} "${database}", epoch ${epoch}, version ${app_version}`],
    ['Keys', keys.join(', ') || 'none'],
    ['Files', members.map((member) => `${member.name} (${bytes(member.bytes)})`).join(', ')],
    ['Signed by', signer],
    ['Sealed to', recipients.join(', ') || 'nobody: whoever has the file has the keys'],
  ]
  return (
    <div style={{ width: '100%' }}>
      {facts.map(([what, text]) => (
        <Text key={what} size="sm" style={{ overflowWrap: 'anywhere' }}>
          <span style={{ color: 'var(--state-unknown)' }}>{what}</span> {what.startsWith('S') ? <Code>{text}</Code> : text}
        </Text>
      ))}
      <Table className="figures" mt="xs" withRowBorders={false} verticalSpacing={2}>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Collection</Table.Th>
            <Table.Th ta="right">Documents</Table.Th>
            <Table.Th ta="right">Size</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {collections
            .filter((collection) => collection.count > 0)
            .map((collection) => (
              <Table.Tr key={collection.name}>
                <Table.Td>{collection.name}</Table.Td>
                <Table.Td ta="right">{count(collection.count)}</Table.Td>
                <Table.Td ta="right">{bytes(collection.bytes)}</Table.Td>
              </Table.Tr>
            ))}
        </Table.Tbody>
      </Table>
    </div>
  )
}
