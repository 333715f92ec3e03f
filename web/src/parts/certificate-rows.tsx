import { useMediaQuery } from '@mantine/hooks'
import { useVirtualizer } from '@tanstack/react-virtual'
import { type Dispatch, memo, type SetStateAction, useCallback, useEffect, useRef } from 'react'
import { Link } from 'wouter'
import type { Certificate } from '../types.ts'
import { certificateState, DaysLeft } from './certificate-state.tsx'
import { State } from './states.tsx'

const rowPx = 44
/** More is fetched this many rows before the end of what is there. */
const rowsAhead = 60

interface RowsProps {
  items: Certificate[]
  total: number
  selected: ReadonlySet<string>
  select: Dispatch<SetStateAction<ReadonlySet<string>>>
  more: (() => unknown) | undefined
}

/** Only the rows that are seen exist. */
export function Rows({ items, total, selected, select, more }: RowsProps) {
  const box = useRef<HTMLDivElement>(null)
  const isNarrow = useMediaQuery('(max-width: 48em)', window.innerWidth < 768, { getInitialValueInEffect: false })
  const rows = useVirtualizer({ count: items.length, getScrollElement: () => box.current, estimateSize: () => rowPx, overscan: 12 })
  const last = rows.getVirtualItems().at(-1)?.index ?? 0
  useEffect(() => {
    if (last > items.length - rowsAhead) more?.()
  }, [last, items.length, more])
  const columns = isNarrow ? '28px minmax(0, 1fr) auto' : '28px minmax(0, 2.4fr) 150px minmax(0, 1.4fr) 120px 100px'
  const toggle = useCallback(
    (id: string) =>
      select((before) => {
        const next = new Set(before)
        if (!next.delete(id)) next.add(id)
        return next
      }),
    [select],
  )
  return (
    <div
      className="card rows"
      ref={box}
      style={{ height: 'max(320px, calc(100dvh - 340px))' }}
      role="table"
      aria-rowcount={total + 1}
      aria-label="certificates"
      tabIndex={0}
    >
      <div className="row" data-head role="row" style={{ gridTemplateColumns: columns }}>
        <span role="columnheader">
          <input
            type="checkbox"
            aria-label="select all that are loaded"
            checked={selected.size === items.length}
            ref={(input) => {
              if (input !== null) input.indeterminate = selected.size > 0 && selected.size < items.length
            }}
            onChange={() => select(selected.size === items.length ? new Set() : new Set(items.map(({ _id }) => _id)))}
          />
        </span>
        <span role="columnheader">Name</span>
        <span role="columnheader">{isNarrow ? 'State' : 'Expires'}</span>
        {!isNarrow && <span role="columnheader">Issuer</span>}
        {!isNarrow && <span role="columnheader">State</span>}
        {!isNarrow && <span role="columnheader">Kind</span>}
      </div>
      <div role="rowgroup" style={{ height: rows.getTotalSize(), position: 'relative' }}>
        {rows.getVirtualItems().map(({ index, start }) => {
          const item = items[index] as Certificate
          const place = { columns, start, index, isNarrow: isNarrow ?? false }
          return <Row key={item._id} item={item} {...place} isSelected={selected.has(item._id)} toggle={toggle} />
        })}
      </div>
    </div>
  )
}

interface RowProps {
  item: Certificate
  index: number
  start: number
  columns: string
  isNarrow: boolean
  isSelected: boolean
  toggle: (id: string) => void
}

const Row = memo(function Row({ item, index, start, columns, isNarrow, isSelected, toggle }: RowProps) {
  const { kind, word } = certificateState(item)
  const transform = `translateY(${start}px)`
  return (
    <div
      className="row"
      data-link
      role="row"
      aria-rowindex={index + 2}
      style={{ gridTemplateColumns: columns, position: 'absolute', insetInline: 0, height: rowPx, transform }}
    >
      <span role="cell">
        <input type="checkbox" aria-label={`select ${item.name}`} checked={isSelected} onChange={() => toggle(item._id)} />
      </span>
      <span role="cell" className="cut">
        <Link href={`/certificates/${item._id}`} title={item.sans.join(', ')}>
          {item.name}
        </Link>
        {item.tags.map((tag) => (
          <Link key={tag} className="tag" href={`/certificates?search=${encodeURIComponent(`#${tag}`)}`}>
            {tag}
          </Link>
        ))}
      </span>
      {!isNarrow && (
        <>
          <span role="cell">
            <DaysLeft certificate={item} />
          </span>
          <span role="cell" className="cut">
            {item.issuer}
          </span>
        </>
      )}
      <span role="cell">
        <State kind={kind}>{word}</State>
      </span>
      {!isNarrow && <span role="cell">{item.kind}</span>}
    </div>
  )
})
