import { Text, Tooltip } from '@mantine/core'

export interface Bar {
  key: string
  value: number
  label: string
}

/** A small chart: one bar a bundle, the last one in words. */
export function Bars({ title, bars }: { title: string; bars: Bar[] }) {
  const last = bars.at(-1)
  if (last === undefined) return null
  const most = Math.max(...bars.map(({ value }) => value))
  return (
    <figure className="bars">
      <figcaption>
        <Text size="sm">
          {title} <span style={{ color: 'var(--state-unknown)' }}>{last.label}</span>
        </Text>
      </figcaption>
      <div role="list" aria-label={`${title} of the last ${bars.length} backups`}>
        {bars.map(({ key, value, label }) => (
          <Tooltip key={key} label={label}>
            <span role="listitem" aria-label={label} style={{ height: `${Math.max(4, (value / most) * 100)}%` }} />
          </Tooltip>
        ))}
      </div>
    </figure>
  )
}
