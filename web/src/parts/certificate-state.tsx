import type { Certificate } from '../types.ts'
import { clock, daysLeft, plural, utc } from '../words.ts'
import type { StateKind } from './states.tsx'

const words: Record<Certificate['state'], { kind: StateKind; word: string }> = {
  active: { kind: 'ok', word: 'active' },
  expiring: { kind: 'soon', word: 'expiring' },
  expired: { kind: 'failing', word: 'expired' },
  revoked: { kind: 'unknown', word: 'revoked' },
  requested: { kind: 'unknown', word: 'requested' },
  failing: { kind: 'failing', word: 'failing' },
}

export function certificateState({ state, renewal_state }: Certificate): { kind: StateKind; word: string } {
  return renewal_state === '' ? words[state] : { kind: 'failing', word: renewal_state }
}

/** Days left as a number, and as a part of the certificate's life. */
export function DaysLeft({ certificate }: { certificate: Certificate }) {
  const { not_before, not_after, state } = certificate
  if (state === 'requested') return <span>not issued yet</span>
  const left = daysLeft(not_after)
  const life = Date.parse(not_after) - Date.parse(not_before)
  const rest = Math.min(1, Math.max(0, (Date.parse(not_after) - Date.now()) / life))
  return (
    <span className="figures" title={`${clock(not_after)} · ${utc(not_after)}`}>
      {left < 0 ? `${plural(-left, 'day')} ago` : plural(left, 'day')}
      <span className="life" aria-hidden="true" style={{ display: 'block', marginTop: 4 }}>
        <span style={{ width: `${rest * 100}%` }} />
      </span>
    </span>
  )
}
