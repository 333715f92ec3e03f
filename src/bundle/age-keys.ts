import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { AppError } from '../core/app-error.ts'
import { Secret } from '../core/secret.ts'

/** A new X25519 identity (age-encryption.org/v1) and the recipient that seals to it. */
export async function newIdentity(): Promise<{ identity: Secret; recipient: string }> {
  const identity = await generateX25519Identity()
  return { identity: new Secret(identity), recipient: await identityToRecipient(identity) }
}

export async function recipientOf(identity: Secret): Promise<string> {
  return identityToRecipient(identity.reveal())
}

/** The identities in the text of an identity file or recovery kit. @throws AppError `usage` there is none */
export function parseIdentities(text: string, source: string): Secret[] {
  const identities = text.match(/AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]+/g) ?? []
  if (identities.length === 0) {
    throw new AppError('usage', `"${source}" holds no age identity`, {
      hint: 'an identity file or recovery kit has a line that starts with AGE-SECRET-KEY-1',
    })
  }
  return identities.map((identity) => new Secret(identity))
}

/** @throws AppError `config` naming the recipient */
export function checkRecipient(recipient: string): void {
  if (!/^age1[02-9ac-hj-np-z0-9]{20,}$/.test(recipient)) {
    const shown = recipient.startsWith('AGE-SECRET-KEY') ? 'AGE-SECRET-KEY-...' : recipient
    throw new AppError('config', `"${shown}" is not an age recipient`, {
      hint: 'a recipient starts with age1; the identity (AGE-SECRET-KEY-1...) is secret and does not belong here',
    })
  }
}
