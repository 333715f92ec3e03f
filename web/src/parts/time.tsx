import { ago, clock, utc } from '../words.ts'

/** A time, relative; absolute with UTC on hover. */
export function When({ at, absolute = false }: { at: string; absolute?: boolean }) {
  return (
    <time dateTime={at} title={`${clock(at)} · ${utc(at)}`} className="figures">
      {absolute ? clock(at) : ago(at)}
    </time>
  )
}
