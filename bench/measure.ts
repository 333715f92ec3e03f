import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const launcher = fileURLToPath(new URL('../certautopilot', import.meta.url))

export interface ChildRun {
  exitCode: number
  seconds: number
  /** Peak resident memory, summed over the process and its children, in MB. */
  peakMb: number
  stdout: string
  stderr: string
}

/** Runs the program as a user does, watching its memory. */
export async function runProgram(words: string[], environment: Record<string, string>, program = launcher): Promise<ChildRun> {
  const started = performance.now()
  const child = spawn(program, words, {
    env: { PATH: process.env.PATH ?? '', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const output = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk: Buffer) => (output.stdout += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (output.stderr += chunk.toString()))
  let peakMb = 0
  const timer = setInterval(() => (peakMb = Math.max(peakMb, peakOf(child.pid as number))), 20)
  const [exitCode] = (await once(child, 'close')) as [number]
  clearInterval(timer)
  return { exitCode, seconds: (performance.now() - started) / 1000, peakMb, ...output }
}

/** The kernel's high-water mark of a process and of its children. */
export function peakOf(pid: number): number {
  try {
    const own = Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(/VmHWM:\s+(\d+)/)?.[1] ?? 0) / 1000
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
    return own + (children === '' ? 0 : children.split(' ').reduce((sum, child) => sum + peakOf(Number(child)), 0))
  } catch {
    return 0
  }
}

export function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number
}

export function percentile(values: number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.ceil(values.length * share) - 1)] as number
}

let missed = 0

/** One line per figure: what it is, the ratio to its limit or peer, and whether that holds. */
export function report(name: string, figure: string, ratio: number, wanted: { atLeast?: number; atMost?: number }): void {
  const holds = ratio >= (wanted.atLeast ?? -Infinity) && ratio <= (wanted.atMost ?? Infinity)
  if (!holds) missed++
  const limit = wanted.atLeast === undefined ? `at most ${wanted.atMost}` : `at least ${wanted.atLeast}`
  console.log(`${holds ? 'ok    ' : 'MISSED'}  ${name}: ${figure}; ratio ${ratio.toFixed(2)} (${limit})`)
}

export function missedCount(): number {
  return missed
}
