import { createHmac } from 'node:crypto'
import { AppError } from '../../core/app-error.ts'
import type { Outbound } from '../../outbound/outbound.ts'
import type { Deployer, TargetAccess } from '../deploy.ts'

/**
 * Posts JSON: `cert_id`, `name`, `fingerprint`, `not_after`, `certificate`, `chain`, and `private_key` only with `include_key: yes`, which
 * needs https and a secret. With a secret the body is signed as `X-CertAutopilot-Signature: sha256=HEX`. @throws AppError `usage`
 */
export function openWebhookDeployer(outbound: Outbound, { settings, secret }: TargetAccess): Deployer {
  const { url = '' } = settings
  const includesKey = settings.include_key === 'yes'
  if (!/^https?:\/\//.test(url)) throw new AppError('usage', 'a webhook target needs "url", http or https')
  if (includesKey && (!url.startsWith('https://') || secret === ''))
    throw new AppError('usage', 'a private key is only sent over https and signed with a secret')
  return {
    async deploy(certificate, key, step, signal) {
      const body = JSON.stringify({
        cert_id: certificate.id,
        name: certificate.name,
        fingerprint: certificate.fingerprint,
        not_after: certificate.notAfter,
        certificate: certificate.certificatePem,
        chain: certificate.chainPem,
        ...(includesKey ? { private_key: certificate.keyPem.reveal() } : {}),
      })
      const signature = createHmac('sha256', secret).update(body).digest('hex')
      const headers = {
        'content-type': 'application/json',
        'idempotency-key': key,
        ...(secret === '' ? {} : { 'x-certautopilot-signature': `sha256=${signature}` }),
      }
      const { status } = await outbound.request({ method: 'POST', url, headers, body }, signal)
      if (status < 200 || status > 299)
        throw new AppError('deploy-failed', `the webhook at "${new URL(url).host}" answers ${status}`)
      await step(`"${new URL(url).host}" took it`)
    },
  }
}
