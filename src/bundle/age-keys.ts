import { AppError } from '../core/app-error.ts'
import { Secret } from '../core/secret.ts'

/** Loaded when something is sealed or opened, which most commands do not do: it takes 50 ms. */
export const loadAge = () => import('age-encryption')

/** A new X25519 identity (age-encryption.org/v1) and the recipient that seals to it. */
export async function newIdentity(): Promise<{ identity: Secret; recipient: string }> {
  const { generateX25519Identity, identityToRecipient } = await loadAge()
  const identity = await generateX25519Identity()
  return { identity: new Secret(identity), recipient: await identityToRecipient(identity) }
}

export async function recipientOf(identity: Secret): Promise<string> {
  return (await loadAge()).identityToRecipient(identity.reveal())
}

const armorPattern = /-----BEGIN AGE ENCRYPTED FILE-----[\s\S]+?-----END AGE ENCRYPTED FILE-----/

/**
 * The identities in the text of an identity file or recovery kit. Where a passphrase protects them it is asked for.
 * @throws AppError `usage` there is none · `wrong-identity` the passphrase is wrong
 */
export async function openIdentities(text: string, source: string, askPassphrase: () => Promise<string>): Promise<Secret[]> {
  const sealed = text.match(armorPattern)?.[0]
  const plain = sealed === undefined ? text : await unprotected(sealed, source, await askPassphrase())
  const identities = plain.match(/AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]+/g) ?? []
  if (identities.length === 0) {
    throw new AppError('usage', `"${source}" holds no age identity`, {
      hint: 'an identity file or recovery kit has a line that starts with AGE-SECRET-KEY-1, or a block that a passphrase opens',
    })
  }
  return identities.map((identity) => new Secret(identity))
}

/** The identity under a passphrase (scrypt), in armor: as the age program reads it with `-i`. */
export async function protectIdentity(identity: Secret, passphrase: string): Promise<Secret> {
  const { armor, Encrypter } = await loadAge()
  const encrypter = new Encrypter()
  encrypter.setPassphrase(passphrase)
  return new Secret(armor.encode(await encrypter.encrypt(`${identity.reveal()}\n`)).trim())
}

async function unprotected(sealed: string, source: string, passphrase: string): Promise<string> {
  const { armor, Decrypter } = await loadAge()
  const decrypter = new Decrypter()
  decrypter.addPassphrase(passphrase)
  try {
    return await decrypter.decrypt(armor.decode(sealed), 'text')
  } catch (cause) {
    throw new AppError('wrong-identity', `the passphrase does not open the identity in "${source}"`, {
      hint: 'if it is right, the file is damaged: compare it with the printed one',
      cause,
    })
  }
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
