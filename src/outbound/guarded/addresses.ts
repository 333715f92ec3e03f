import ipaddr from 'ipaddr.js'
import { AppError } from '../../core/app-error.ts'

export interface AllowedAddresses {
  /** A host in a URL that is an address already. @throws AppError `forbidden` */
  checkLiteral(host: string): void
  /** @throws AppError `forbidden` */
  check(host: string, address: string): void
}

/** @throws AppError `config` an entry that is neither an address, nor a range, nor a host name */
export function allowedAddresses(allow: readonly string[]): AllowedAddresses {
  const names = new Set(allow.filter(isHostName).map((name) => name.toLowerCase()))
  const ranges = allow.filter((entry) => !isHostName(entry)).map(parseRange)
  const check = (host: string, address: string) => {
    const parsed = ipaddr.process(address)
    const isAllowed =
      names.has(host.toLowerCase()) || ranges.some((range) => range[0].kind() === parsed.kind() && parsed.match(range))
    if (parsed.range() === 'unicast' || isAllowed) return
    throw new AppError('forbidden', `"${host}" is at ${address}, which is ${spoken(parsed.range())} and not reached from here`, {
      hint: `if that is meant, add "${host}" to outbound.allow in config.yaml`,
    })
  }
  return {
    check,
    checkLiteral(host) {
      const bare = host.replace(/^\[|\]$/g, '')
      if (ipaddr.isValid(bare)) check(bare, bare)
    },
  }
}

function isHostName(entry: string): boolean {
  return /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(entry) && /[a-z]/i.test(entry)
}

function parseRange(entry: string): [ipaddr.IPv4 | ipaddr.IPv6, number] {
  try {
    if (entry.includes('/')) return ipaddr.parseCIDR(entry)
    const address = ipaddr.parse(entry)
    return [address, address.kind() === 'ipv4' ? 32 : 128]
  } catch (error) {
    throw new AppError(
      'config',
      `"outbound.allow" has "${entry}", expected an address, a range such as 10.0.0.0/8, or a host name`,
      {
        cause: error,
      },
    )
  }
}

/** `linkLocal` as `a link-local address`. */
function spoken(range: string): string {
  return `a ${range.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} address`
}
