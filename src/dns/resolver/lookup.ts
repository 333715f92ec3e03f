import { Resolver } from 'node:dns/promises'
import { AppError, messageOf, systemCodeOf } from '../../core/app-error.ts'
import type { DnsLookup } from '../dns.ts'

const maxAliases = 8
const nothing = new Set(['ENODATA', 'ENOTFOUND'])

interface LookupOptions {
  /** Name servers to ask, `ADDRESS` or `ADDRESS:PORT`; those of the system if empty. */
  resolvers: readonly string[]
  /** Servers that count as the zone's own, for a zone that is seen differently from here. */
  authorities?: readonly string[]
}

export function openDnsLookup({ resolvers, authorities = [] }: LookupOptions): DnsLookup {
  const ask = <T>(question: (resolver: Resolver) => Promise<T>) => question(resolverFor(resolvers))
  return {
    async canonicalName(name) {
      let current = name
      for (let hops = 0; hops < maxAliases; hops++) {
        const [target] = (await orNothing(ask((resolver) => resolver.resolveCname(current)))) ?? []
        if (target === undefined) return current
        current = target.toLowerCase()
      }
      throw new AppError('refused-by-dns', `"${name}" is an alias of more than ${maxAliases} others`)
    },
    async zoneOf(name) {
      const labels = name.split('.')
      for (let start = 0; start < labels.length - 1; start++) {
        const candidate = labels.slice(start).join('.')
        if ((await orNothing(ask((resolver) => resolver.resolveSoa(candidate)))) !== undefined) return candidate
      }
      throw new AppError('refused-by-dns', `no zone is found for "${name}"`, { hint: 'is the name registered and delegated?' })
    },
    async valuesAtServers(zone, name) {
      const servers = authorities.length > 0 ? authorities : await addressesOfServers(zone, ask)
      return Promise.all(
        servers.map(async (server) => {
          const records = await orNothing(resolverFor([server]).resolveTxt(name)).catch(() => undefined)
          return { server, values: (records ?? []).map((chunks) => chunks.join('')) }
        }),
      )
    },
  }
}

async function addressesOfServers(zone: string, ask: <T>(question: (resolver: Resolver) => Promise<T>) => Promise<T>) {
  const names = (await orNothing(ask((resolver) => resolver.resolveNs(zone)))) ?? []
  const found = await Promise.all(names.map(async (name) => (await orNothing(ask((resolver) => resolver.resolve4(name)))) ?? []))
  const addresses = found.flat()
  if (addresses.length === 0) throw new AppError('refused-by-dns', `the name servers of zone "${zone}" are not found`)
  return addresses
}

function resolverFor(servers: readonly string[]): Resolver {
  const resolver = new Resolver({ timeout: 3_000, tries: 2 })
  if (servers.length > 0) resolver.setServers([...servers])
  return resolver
}

/** No such name or record is an answer. */
async function orNothing<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer
  } catch (error) {
    if (nothing.has(systemCodeOf(error) ?? '')) return undefined
    throw new AppError('unreachable', `the DNS does not answer: ${messageOf(error)}`, {
      hint: 'look at acme.resolvers in config.yaml and /etc/resolv.conf',
      cause: error,
    })
  }
}
