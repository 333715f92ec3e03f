import { useQuery } from '@tanstack/react-query'
import { useLocation } from 'wouter'
import { get } from '../api.ts'
import { plural } from '../words.ts'

const soonDays = 30

/** How many certificates expire on each of the next 90 days. A click lists those that expire first. */
export function ExpiryStrip() {
  const { data } = useQuery({
    queryKey: ['expiry'],
    queryFn: () => get<{ days: { day: string; count: number }[] }>('/certificates/expiry'),
    staleTime: 60_000,
  })
  const [, go] = useLocation()
  const days = data?.days ?? []
  const most = Math.max(1, ...days.map(({ count }) => count))
  return (
    <fieldset className="strip" aria-label="certificates that expire, by day" style={{ border: 0, margin: 0, padding: 0 }}>
      {days.map(({ day, count }, index) => (
        <button
          key={day}
          type="button"
          tabIndex={count === 0 ? -1 : 0}
          data-soon={index < soonDays && count > 0 ? '' : undefined}
          title={`${day}: ${plural(count, 'certificate')}`}
          aria-label={`${day}: ${plural(count, 'certificate')}`}
          onClick={() => go(index < soonDays ? '/certificates?state=expiring' : '/certificates?state=active')}
        >
          <span style={{ height: `${Math.round((count / most) * 100)}%` }} />
        </button>
      ))}
    </fieldset>
  )
}
