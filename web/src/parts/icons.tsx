/** Line icons of 20 by 20, drawn for this UI. */
const paths = {
  overview: 'M3 11l7-7 7 7M5 9.5V17h10V9.5',
  certificates: 'M4 3h12v10H4zM7 6.5h6M7 9.5h4M10 13v4l-2-1.5L6 17',
  jobs: 'M4 5h12M4 10h12M4 15h7M14 13l3 2-3 2z',
  backups: 'M10 2.5l6.5 2.5v5c0 4-2.7 6.500-6.500 7.500C6.200 16.500 3.500 14 3.500 10V5zM7 10l2.200 2.200L13.200 8',
  issuers: 'M10 3a4 4 0 110 8 4 4 0 010-8zM7 10.500L6 17l4-2 4 2-1-6.500',
  deploy: 'M10 3v9M6.500 8.500L10 12l3.500-3.500M4 14v3h12v-3',
  notify: 'M5 14V9a5 5 0 0110 0v5l1.500 1.500h-13zM8.500 17.500h3',
  audit: 'M5 3h8l3 3v11H5zM8 8h5M8 11h5M8 14h3',
  settings: 'M4 6h7M15 6h1M4 14h1M9 14h7M13 4v4M7 12v4',
  search: 'M9 3.500a5.500 5.500 0 110 11 5.500 5.500 0 010-11zM13 13l4 4',
  plus: 'M10 4v12M4 10h12',
  more: 'M5 10h.01M10 10h.01M15 10h.01',
} as const

export type IconName = keyof typeof paths

export function Icon({ name, size = 20 }: { name: IconName; size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 20 20" fill="none" aria-hidden="true" focusable="false">
      <path d={paths[name]} stroke="currentColor" strokeWidth="1.6" strokeLinecap="round" strokeLinejoin="round" />
    </svg>
  )
}
