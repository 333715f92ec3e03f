import type { Secret } from '../core/secret.ts'

export interface KitContent {
  installationId: string
  recipient: string
  signer: string
  identity: Secret
  /** Where copies are, as `--from` takes it. */
  targets: readonly string[]
}

/** The page that a person keeps off the host: with it and a bundle everything is there, and without it nothing opens. */
export function recoveryKit({ installationId, recipient, signer, identity, targets }: KitContent): string {
  const places =
    targets.length === 0
      ? '# copies        none at the time of this page'
      : targets.map((target) => `# copies        ${target}`).join('\n')
  return `# CertAutopilot recovery kit
#
# Whoever has this file and a bundle has everything: print it or put it into a safe, then remove it from this machine.
#
# installation  ${installationId}
# recipient     ${recipient}
# signing key   ${signer}
${places}
#
# Prove that it works:            certautopilot backup key test --identity THIS-FILE
# Restore, also on a new machine: certautopilot restore apply BUNDLE --identity THIS-FILE
# ... from where copies are:      certautopilot restore apply BUNDLE --from URL --identity THIS-FILE
#
# Not in any bundle, so have at hand: the URI of your MongoDB server, if you use one, and credentials of backup targets.
#
${identity.reveal()}
`
}
