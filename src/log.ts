import { pino } from 'pino'
import type { Log } from './app.ts'

/** JSON lines on standard output. */
export function newLog(level: string): Log {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) } })
}
