/** What a drill did and found. Signed with the installation key and kept. */
export interface DrillReport {
  id: string
  bundle: string
  started_at: string
  outcome: 'passed' | 'failed'
  /** Why it failed; empty when it passed. */
  failure: string
  /** How the drill was kept from the world. */
  isolation: 'network-namespace' | 'connection-guard'
  envelopes: { total: number; opened: number }
  certificates: { restored: number; production: number; drift_percent: number }
  counts: { collection: string; restored: number; production: number }[]
  opened_certificate: string
  renewal: { job: string; steps: string[]; serial_before: string; serial_after: string }
  stages: { stage: string; ms: number }[]
  /** From the start until the restored service answered that it is ready. */
  recovery_ms: number
  /** Age of the bundle's data when the drill began. */
  data_age_ms: number
}

export interface SignedDrillReport {
  report: DrillReport
  signer: string
  signature: string
}
