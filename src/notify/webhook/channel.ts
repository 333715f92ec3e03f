import { createHmac } from 'node:crypto'
import { AppError } from '../../core/app-error.ts'
import type { Outbound } from '../../outbound/outbound.ts'
import type { Channel, ChannelAccess } from '../notify.ts'

/**
 * Posts JSON that Slack and its likes show (`text`), with everything for programs beside it. With a secret the body is signed:
 * `X-CertAutopilot-Signature: sha256=HEX` over it. @throws AppError `usage`
 */
export function openWebhook(outbound: Outbound, { settings, secret }: ChannelAccess): Channel {
  const { url = '' } = settings
  if (!/^https?:\/\//.test(url)) throw new AppError('usage', 'a webhook channel needs "url", http or https')
  return {
    async send({ title, text, ...rest }, signal) {
      const mark = { info: '', warning: '⚠ ', critical: '🔴 ' }[rest.severity]
      const body = JSON.stringify({ text: `${mark}${title}\n${text}`, title, ...rest })
      const signature = createHmac('sha256', secret).update(body).digest('hex')
      const headers = {
        'content-type': 'application/json',
        'idempotency-key': rest.key,
        ...(secret === '' ? {} : { 'x-certautopilot-signature': `sha256=${signature}` }),
      }
      const { status } = await outbound.request({ method: 'POST', url, headers, body }, signal)
      if (status >= 200 && status < 300) return
      throw new AppError('refused-by-channel', `the webhook at "${new URL(url).host}" answers ${status}`)
    },
  }
}
