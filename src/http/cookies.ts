import { accessTokenMs, refreshTokenMs, type SessionTokens } from '../access/sessions.ts'

/** Names and values of a Cookie header (RFC 6265). */
export function parseCookies(header: string | undefined): Record<string, string> {
  const pairs = (header ?? '').split(';').map((pair) => pair.trim().split('='))
  return Object.fromEntries(pairs.filter(([name]) => name).map(([name, ...value]) => [name as string, value.join('=')]))
}

/** Tokens are out of reach of scripts; the CSRF token is not, because the page sends it back as a header. */
export function sessionCookies(tokens: SessionTokens, isSecure: boolean): string[] {
  const secure = isSecure ? '; Secure' : ''
  const seconds = (durationMs: number) => Math.floor(durationMs / 1000)
  return [
    `cap_access=${tokens.access}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${seconds(accessTokenMs)}${secure}`,
    `cap_refresh=${tokens.refresh}; Path=/api/v1/auth; HttpOnly; SameSite=Strict; Max-Age=${seconds(refreshTokenMs)}${secure}`,
    `cap_csrf=${tokens.csrf}; Path=/; SameSite=Strict; Max-Age=${seconds(refreshTokenMs)}${secure}`,
  ]
}

export function clearedCookies(): string[] {
  return ['cap_access=; Path=/; Max-Age=0', 'cap_refresh=; Path=/api/v1/auth; Max-Age=0', 'cap_csrf=; Path=/; Max-Age=0']
}
