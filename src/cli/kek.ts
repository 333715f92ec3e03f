import { AppError } from '../core/app-error.ts'
import { plural } from '../core/units.ts'
import type { KekInstall } from '../kek/collections.ts'
import { countEnvelopes, emptyTally, tallyEnvelopes } from '../kek/open-envelopes.ts'
import { buildRegistry, kekVersions } from '../kek/registry.ts'
import type { Command } from './command.ts'
import { table } from './output.ts'

export const commands: Command[] = [
  {
    name: 'kek status',
    summary: 'show the KEK versions that the database knows and the ones at hand',
    examples: ['kek status', 'kek status --json'],
    async run(context) {
      const host = await context.host()
      const { provider } = host.backup.keysIn(await host.backup.secretStore.capture())
      const { install, versions } = await context.withStore(host, async (store) => ({
        install: await store.get<KekInstall>('kek_install', 'install'),
        versions: await kekVersions(store),
      }))
      const numbers = [...new Set([...versions.map((known) => known.version), ...provider.versions])].sort((a, b) => a - b)
      const rows = numbers.map((version) => {
        const known = versions.find((candidate) => candidate.version === version)
        const atHand = provider.versions.includes(version) ? provider.fingerprint(version) : ''
        const fits =
          known === undefined ? 'not used yet' : known.fingerprint === atHand ? 'fits' : atHand === '' ? 'MISSING' : 'OTHER KEY'
        return {
          version,
          state: known?.state ?? '-',
          in_database: known?.fingerprint ?? '-',
          at_hand: atHand || '-',
          verdict: fits,
        }
      })
      context.out.summary({ provider: provider.name, installation_id: install?.installation_id, versions: rows }, [
        `provider      ${install?.provider ?? provider.name}`,
        `installation  ${install?.installation_id ?? 'a new database'}`,
        ...table([
          ['version', 'state', 'in database', 'at hand', ''],
          ...rows.map((row) => [`v${row.version}`, row.state, row.in_database, row.at_hand, row.verdict]),
        ]),
      ])
    },
  },
  {
    name: 'kek verify',
    summary: 'check the keys against the database and open every envelope in it',
    options: { target: { type: 'string', value: 'N', help: 'also require that KEK version N is at hand' } },
    examples: ['kek verify', 'kek verify --target 2'],
    async run(context, args) {
      const host = await context.host()
      const { backup } = host
      const keys = backup.keysIn(await backup.secretStore.capture())
      const target = args.number('target')
      if (target !== undefined) keys.provider.fingerprint(target)
      const tally = emptyTally()
      await context.withStore(host, async (store) => {
        await buildRegistry(
          { store, provider: keys.provider, clock: backup.clock, collections: backup.collections },
          keys.installationId,
        )
        await using point = await store.snapshot()
        for (const { name, envelopes = [] } of backup.collections) {
          if (envelopes.length === 0) continue
          for await (const documents of point.read(name))
            tallyEnvelopes(keys.provider, tally, { collection: name, fields: envelopes, documents })
        }
      })
      const { total, opened } = countEnvelopes(tally)
      if (tally.failureCount > 0) {
        throw new AppError(
          'verification-failed',
          `${tally.failureCount} of ${total} envelopes do not open, first: ${tally.failures[0]?.reason}`,
          { details: { failures: tally.failures.slice(0, 20) } },
        )
      }
      if (total === 0) throw new AppError('nothing-verified', 'the database holds no envelope')
      context.out.summary({ envelopes: { total, opened } }, [`the keys fit: ${opened} of ${plural(total, 'envelope')} opened`])
    },
  },
]
