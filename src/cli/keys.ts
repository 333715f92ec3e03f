import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { audited, hostActor } from '../audit/audit.ts'
import { proveRecovery, recoveryProof } from '../backup/prove-recovery.ts'
import { type KitContent, recoveryKit, recoveryKitPage } from '../backup/recovery-kit.ts'
import { checkRecipient, newIdentity, openIdentities, protectIdentity, recipientOf } from '../bundle/age-keys.ts'
import { signerOf } from '../bundle/manifest.ts'
import { requiredSecret } from '../config/secrets.ts'
import { AppError } from '../core/app-error.ts'
import type { Secret } from '../core/secret.ts'
import { plural } from '../core/units.ts'
import { type Arguments, type Command, type OptionSpec, operand } from './command.ts'
import type { Context } from './context.ts'
import { table } from './output.ts'

type Host = Awaited<ReturnType<Context['host']>>

const passphraseVariable = 'CERTAUTOPILOT_PASSPHRASE'
const leastPassphrase = 12
const kitOption: OptionSpec = { type: 'string', value: 'FILE', help: 'the recovery kit as it is' }
const outputOption: OptionSpec = {
  type: 'string',
  value: 'FILE',
  help: 'where the kit goes (0600); take it off this machine afterwards',
}

export const commands: Command[] = [
  {
    name: 'backup key list',
    summary: 'list whom bundles are sealed to',
    examples: ['backup key list'],
    async run(context) {
      const { backup, config } = await context.host()
      const people = config['backup.recipients']
      const host = config['backup.host_identity'] ? await backup.host.hostRecipient() : ''
      const standing = await backup.standing.read()
      const now = backup.clock.now()
      const { at, isCurrent } = recoveryProof(standing, people, now)
      const proofs = people.map((recipient) => ({ recipient, ...recoveryProof(standing, [recipient], now) }))
      const rows = proofs.map((proof) => [
        'person',
        proof.recipient,
        proof.isCurrent ? `proven ${proof.at?.slice(0, 10)}` : 'unproven',
      ])
      const shown = proofs.map((proof) => ({
        recipient: proof.recipient,
        recovery_proven_at: proof.at,
        is_recovery_proven: proof.isCurrent,
      }))
      context.out.summary({ people, host, recovery_proven_at: at, is_recovery_proven: isCurrent, proofs: shown }, [
        ...table([['who', 'recipient', 'kit'], ...rows, ['this host', host || 'no: backup.host_identity is false', '']]),
        ...(isCurrent ? [] : ['unproven: no recovery kit has opened a bundle in the last year ("backup key test")']),
        'copies off this host are sealed to people only',
      ])
    },
  },
  {
    name: 'backup key create',
    summary: 'make a recovery kit for one more person, and seal to it from now on',
    options: { output: outputOption, passphrase: { type: 'boolean', help: 'protect the identity with a passphrase' } },
    examples: ['backup key create --output kit-of-anna.txt', 'backup key create --output kit-of-anna.txt --passphrase'],
    async run(context, args) {
      const output = freshOutput(args)
      const host = await context.host()
      const { identity, recipient } = await newIdentity()
      const passphrase = args.flag('passphrase') ? await newPassphrase(context) : undefined
      await host.backup.host.writePrivateFile(output, recoveryKit(await kitContent(host, identity, passphrase)))
      await changeRecipients(context, host, [...host.config['backup.recipients'], recipient])
      context.out.summary({ recipient, file: output }, [
        `bundles are sealed to ${recipient} too, from the next one on; the kit is "${output}": print it or save it elsewhere, then remove it here`,
      ])
    },
  },
  {
    name: 'backup key add',
    summary: 'seal to one more recipient from now on',
    operands: 'RECIPIENT',
    examples: ['backup key add age1...'],
    async run(context, args) {
      const recipient = operand(args, 0, 'RECIPIENT')
      checkRecipient(recipient)
      const host = await context.host()
      const people = host.config['backup.recipients']
      if (people.includes(recipient)) throw new AppError('exists', `bundles are sealed to "${recipient}" already`)
      await changeRecipients(context, host, [...people, recipient])
      context.out.summary({ recipient }, [`bundles are sealed to ${recipient} too, from the next one on`])
    },
  },
  {
    name: 'backup key remove',
    summary: 'seal to a recipient no more; the bundles that there are stay open to it',
    operands: 'RECIPIENT',
    examples: ['backup key remove age1...'],
    async run(context, args) {
      const recipient = operand(args, 0, 'RECIPIENT')
      const host = await context.host()
      const left = host.config['backup.recipients'].filter((known) => known !== recipient)
      if (left.length === host.config['backup.recipients'].length)
        throw new AppError('not-found', `bundles are not sealed to "${recipient}"`, {
          hint: '"certautopilot backup key list" shows to whom',
        })
      if (left.length === 0)
        throw new AppError('preflight', 'this is the last person: nobody could open a bundle once this host is gone', {
          hint: 'add another first: "certautopilot backup key create --output FILE"',
        })
      await changeRecipients(context, host, left)
      context.out.summary({ recipient }, [`bundles are sealed to ${recipient} no more; it still opens those that there are`])
    },
  },
  {
    name: 'backup key test',
    summary: 'prove that the recovery kit opens the newest bundle',
    options: { identity: kitOption },
    examples: ['backup key test --identity certautopilot-recovery-kit.txt'],
    async run(context, args) {
      const identityFile = args.text('identity')
      if (identityFile === undefined) throw new AppError('usage', '--identity is missing: name the recovery kit')
      const { bundle, envelopes } = await proveRecovery((await context.host({ identityFile })).backup)
      context.out.summary({ bundle, envelopes }, [
        `the recovery kit opens "${bundle}": ${envelopes.opened} of ${plural(envelopes.total, 'envelope')}. Now take it off this machine.`,
      ])
    },
  },
  {
    name: 'backup key protect',
    summary: 'write a recovery kit whose identity a passphrase protects',
    options: { identity: kitOption, output: outputOption },
    examples: ['backup key protect --identity certautopilot-recovery-kit.txt --output protected-kit.txt'],
    async run(context, args) {
      const output = freshOutput(args)
      const { host, identity } = await openKit(context, args)
      const passphrase = await newPassphrase(context)
      await host.backup.host.writePrivateFile(output, recoveryKit(await kitContent(host, identity, passphrase)))
      context.out.summary({ file: output }, [
        `"${output}" opens bundles with its passphrase only; try it with "backup key test", then destroy the one without`,
      ])
    },
  },
  {
    name: 'backup key kit',
    summary: 'print a recovery kit again, with where copies are now',
    options: {
      identity: kitOption,
      page: { type: 'boolean', help: 'as an HTML page for a printer, with a QR code' },
    },
    examples: [
      'backup key kit --identity certautopilot-recovery-kit.txt > new-kit.txt',
      'backup key kit --identity certautopilot-recovery-kit.txt --page > kit.html',
    ],
    async run(context, args) {
      const { host, identity, passphrase } = await openKit(context, args)
      const content = await kitContent(host, identity, passphrase)
      context.out.raw(Buffer.from(args.flag('page') ? recoveryKitPage(content) : recoveryKit(content)))
    },
  },
]

/** The identity of a kit to which bundles are sealed. @throws AppError `usage` · `not-found` · `wrong-identity` also for a wrong passphrase */
async function openKit(context: Context, args: Arguments): Promise<OpenKit> {
  const file = args.text('identity')
  if (file === undefined) throw new AppError('usage', '--identity is missing: name the recovery kit')
  const host = await context.host()
  const text = await readFile(file, 'utf8').catch((cause) => {
    throw new AppError('not-found', `there is no file "${file}"`, { cause })
  })
  let passphrase: string | undefined
  const ask = async () => {
    passphrase = await context.askSecret('passphrase of the recovery kit: ', passphraseVariable)
    return passphrase
  }
  const [identity] = await openIdentities(text, file, ask)
  if (!host.config['backup.recipients'].includes(await recipientOf(identity as Secret)))
    throw new AppError('wrong-identity', `bundles are not sealed to the identity in "${file}"`)
  return { host, identity: identity as Secret, passphrase }
}

interface OpenKit {
  host: Host
  identity: Secret
  /** With which it was opened; undefined when none protects it. */
  passphrase: string | undefined
}

/** @throws AppError `usage` · `exists` */
function freshOutput(args: Arguments): string {
  const output = args.text('output')
  if (output === undefined) throw new AppError('usage', '--output is missing: name the file of the new kit')
  if (existsSync(output)) throw new AppError('exists', `"${output}" is there already: a kit is never overwritten`)
  if (!existsSync(dirname(resolve(output))))
    throw new AppError('not-found', `there is no folder "${dirname(resolve(output))}" for the kit`, {
      hint: 'is the medium mounted?',
    })
  return output
}

/** @throws AppError `usage` it is short, or the two differ */
async function newPassphrase(context: Context): Promise<string> {
  const passphrase = await context.askSecret('a passphrase for the kit: ', passphraseVariable)
  if (passphrase.length < leastPassphrase)
    throw new AppError('usage', `the passphrase has ${passphrase.length} characters, ${leastPassphrase} are the least`, {
      hint: 'several words are easier to remember than signs',
    })
  if ((await context.askSecret('the same again: ', passphraseVariable)) !== passphrase)
    throw new AppError('usage', 'the two passphrases differ', { hint: 'nothing was written' })
  return passphrase
}

async function kitContent({ config, secrets, backup }: Host, identity: Secret, passphrase?: string): Promise<KitContent> {
  return {
    installationId: secrets.installationId ?? '',
    appVersion: backup.appVersion,
    recipient: await recipientOf(identity),
    signer: signerOf(requiredSecret(secrets, 'signingKey')),
    identity: passphrase === undefined ? identity : await protectIdentity(identity, passphrase),
    isProtected: passphrase !== undefined,
    targets: config['backup.targets'].map((target) => target.replace(/^[\w-]+=/, '')),
  }
}

/** @throws AppError `config` the environment says something else */
async function changeRecipients(context: Context, host: Host, recipients: readonly string[]): Promise<void> {
  const { backup } = host
  if (context.environment.CERTAUTOPILOT_BACKUP_RECIPIENTS !== undefined)
    throw new AppError('config', 'CERTAUTOPILOT_BACKUP_RECIPIENTS says whom bundles are sealed to, and goes over config.yaml', {
      hint: 'change it there',
    })
  await backup.host.writeRecipients(recipients)
  if (host.config['database.engine'] === 'embedded' && !existsSync(host.paths.database)) return
  // Where the database is away, the change stands all the same.
  const entry = audited(hostActor, 'backup.recipients-changed', 'host', { recipients: [...recipients] })
  await context.withStore(host, (store) => store.commit([entry])).catch(() => {})
}
