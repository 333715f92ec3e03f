import { type CSSVariablesResolver, createTheme, type MantineColorsTuple } from '@mantine/core'

/** The one accent. State has colours of its own, in app.css. */
const pine: MantineColorsTuple = [
  '#e8f6f2',
  '#d3ebe4',
  '#a7d7c9',
  '#76c1ab',
  '#4eae92',
  '#349f80',
  '#1d7f64',
  '#0b5d4d',
  '#074a3d',
  '#03372d',
]

export const theme = createTheme({
  primaryColor: 'pine',
  primaryShade: { light: 7, dark: 6 },
  colors: { pine },
  fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
  fontFamilyMonospace: 'ui-monospace, SFMono-Regular, Menlo, Consolas, monospace',
  fontSizes: { xs: '12px', sm: '13px', md: '14px', lg: '16px', xl: '20px' },
  defaultRadius: 'md',
  spacing: { xs: '8px', sm: '12px', md: '16px', lg: '24px', xl: '32px' },
  respectReducedMotion: true,
})

/** The library's greys are too faint to read (WCAG 2.2, 1.4.3). */
export const readable: CSSVariablesResolver = () => ({
  variables: {},
  light: { '--mantine-color-dimmed': '#5c636a', '--mantine-color-placeholder': '#6b7278', '--mantine-color-error': '#b3261e' },
  dark: {
    '--mantine-color-dimmed': '#a9b1b8',
    '--mantine-color-placeholder': '#9aa2a8',
    '--mantine-color-text': '#dfe3e6',
    '--mantine-color-error': '#ff9b92',
  },
})
