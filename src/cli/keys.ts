import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { type KitContent, recoveryKit } from '../backup/recovery-kit.ts'
import { checkRecipient, newIdentity, parseIdentities, recipientOf } from '../bundle/age-keys.ts'
import { signerOf } from '../bundle/manifest.ts'
import type { Loaded } from '../config/load-config.ts'
import { requiredSecret } from '../config/secrets.ts'
import { AppError } from '../core/app-error.ts'
import type { Secret } from '../core/secret.ts'
import { type Command, operand } from './command.ts'
import type { Context } from './context.ts'
import { table } from './output.ts'

type Host = Awaited<ReturnType<Context['host']>>

export const commands: Command[] = [
  {
    name: 'backup key list',
    summary: 'list whom bundles are sealed to',
    examples: ['backup key list'],
    async run(context) {
      const { backup, config } = await context.host()
      const people = config['backup.recipients']
      const host = await backup.host.hostRecipient()
      const proven =
        (await backup.catalogue.list())
          .map(({ state }) => state.recovery_proven_at ?? '')
          .sort()
          .at(-1) ?? ''
      const rows = [...people.map((recipient) => ['person', recipient]), ['this host', host]]
      context.out.summary({ people, host, recovery_proven_at: proven || null }, [
        ...table([['who', 'recipient'], ...rows]),
        proven === ''
          ? 'unproven: no recovery kit has opened a bundle yet ("backup key test")'
          : `proven     a recovery kit opened a bundle on ${proven.slice(0, 10)}`,
        'copies off this host are sealed to people only',
      ])
    },
  },
  {
    name: 'backup key create',
    summary: 'make a recovery kit for one more person, and seal to it from now on',
    options: { output: { type: 'string', value: 'FILE', help: 'where the kit goes (0600); take it off this machine afterwards' } },
    examples: ['backup key create --output kit-of-anna.txt'],
    async run(context, args) {
      const output = args.text('output')
      if (output === undefined) throw new AppError('usage', '--output is missing: name the file of the new kit')
      if (existsSync(output)) throw new AppError('exists', `"${output}" is there already: a kit is never overwritten`)
      const host = await context.host()
      const { identity, recipient } = await newIdentity()
      await host.backup.host.writePrivateFile(output, recoveryKit(await kitContent(host, identity)))
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
    name: 'backup key kit',
    summary: 'print a recovery kit again, with where copies are now',
    options: { identity: { type: 'string', value: 'FILE', help: 'the recovery kit as it was' } },
    examples: ['backup key kit --identity certautopilot-recovery-kit.txt > new-kit.txt'],
    async run(context, args) {
      const file = args.text('identity')
      if (file === undefined) throw new AppError('usage', '--identity is missing: name the recovery kit')
      const host = await context.host()
      const text = await readFile(file, 'utf8').catch((cause) => {
        throw new AppError('not-found', `there is no file "${file}"`, { cause })
      })
      const identity = parseIdentities(text, file)[0] as Secret
      if (!host.config['backup.recipients'].includes(await recipientOf(identity)))
        throw new AppError('wrong-identity', `bundles are not sealed to the identity in "${file}"`)
      context.out.raw(Buffer.from(recoveryKit(await kitContent(host, identity))))
    },
  },
]

async function kitContent({ config, secrets }: Loaded, identity: Secret): Promise<KitContent> {
  return {
    installationId: secrets.installationId ?? '',
    recipient: await recipientOf(identity),
    signer: signerOf(requiredSecret(secrets, 'signingKey')),
    identity,
    targets: config['backup.targets'].map((target) => target.replace(/^[\w-]+=/, '')),
  }
}

/** @throws AppError `config` the environment says something else */
async function changeRecipients(context: Context, { backup }: Host, recipients: readonly string[]): Promise<void> {
  if (context.environment.CERTAUTOPILOT_BACKUP_RECIPIENTS !== undefined)
    throw new AppError('config', 'CERTAUTOPILOT_BACKUP_RECIPIENTS says whom bundles are sealed to, and goes over config.yaml', {
      hint: 'change it there',
    })
  await backup.host.writeRecipients(recipients)
}
