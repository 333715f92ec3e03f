import { renderSVG } from 'uqr'
import type { Secret } from '../core/secret.ts'

export interface KitContent {
  installationId: string
  appVersion: string
  recipient: string
  signer: string
  /** The identity, or the block that a passphrase opens. */
  identity: Secret
  isProtected: boolean
  /** Where copies are, as `--from` takes it. */
  targets: readonly string[]
}

/** The page that a person keeps off the host: with it and a bundle everything is there, and without it nothing opens. */
export function recoveryKit(kit: KitContent): string {
  const facts = factsOf(kit).map(([name, value]) => `# ${name.padEnd(13)} ${value}`)
  return `# CertAutopilot recovery kit
#
# ${warning}
#
${facts.join('\n')}
#
${commandsOf(kit)
  .map(([purpose, command]) => `# ${`${purpose}:`.padEnd(37)} ${command}`)
  .join('\n')}
#
# ${missing}
#
${kit.identity.reveal()}
`
}

/** The same as a page for a printer. */
export function recoveryKitPage(kit: KitContent): string {
  const rows = factsOf(kit).map(([name, value]) => `<tr><th>${name}</th><td>${escaped(value)}</td></tr>`)
  const commands = commandsOf(kit).map(([purpose, command]) => `<dt>${purpose}</dt><dd><code>${escaped(command)}</code></dd>`)
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>CertAutopilot recovery kit</title>
<style>
body { font: 11pt/1.45 system-ui, sans-serif; color: #000; background: #fff; max-width: 44em; margin: 2em auto; padding: 0 1em }
th { text-align: left; padding-right: 1.5em; vertical-align: top; white-space: nowrap }
td, code, pre { font-family: ui-monospace, monospace; font-size: 9.5pt; overflow-wrap: anywhere }
pre { border: 1px solid #000; padding: .8em; white-space: pre-wrap }
svg { width: 58mm; height: 58mm }
dt { margin-top: .5em }
</style>
<h1>CertAutopilot recovery kit</h1>
<p><strong>${warning}</strong></p>
<table>${rows.join('')}</table>
<h2>On a bare machine</h2>
<dl>${commands.join('')}</dl>
<p>${missing}</p>
<h2>Identity</h2>
${renderSVG(kit.identity.reveal(), { ecc: 'M' })}
<pre>${escaped(kit.identity.reveal())}</pre>
</html>
`
}

const warning = 'Whoever has this page and a bundle has everything: keep it in a safe, and off this machine.'
const missing =
  'Not in any bundle, so have at hand: the URI of your MongoDB server, if you use one, and credentials of backup targets.'

function factsOf(kit: KitContent): [string, string][] {
  const copies = kit.targets.length === 0 ? ['none at the time of this page'] : kit.targets
  return [
    ['installation', kit.installationId],
    ['version', kit.appVersion],
    ['recipient', kit.recipient],
    ['signing key', kit.signer],
    ...copies.map((target): [string, string] => ['copies', target]),
    ...(kit.isProtected ? [['passphrase', 'protects the identity: this page does not hold it'] as [string, string]] : []),
  ]
}

function commandsOf({ isProtected }: KitContent): [string, string][] {
  const plain = 'age -d -i THIS-FILE BUNDLE | tar x'
  return [
    ['Prove that it works', 'certautopilot backup key test --identity THIS-FILE'],
    ['Restore, also on a new machine', 'certautopilot restore apply BUNDLE --identity THIS-FILE'],
    ['... from where copies are', 'certautopilot restore apply BUNDLE --from URL --identity THIS-FILE'],
    ['With a QR code, for a printer', 'certautopilot backup key kit --page --identity THIS-FILE'],
    [
      'Without CertAutopilot',
      isProtected ? `sed -n '/^-----BEGIN AGE/,$p' THIS-FILE > id.age; age -d -i id.age BUNDLE | tar x` : plain,
    ],
  ]
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
