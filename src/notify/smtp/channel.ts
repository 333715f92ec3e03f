import { createTransport } from 'nodemailer'
import { AppError, messageOf } from '../../core/app-error.ts'
import type { Channel, ChannelAccess, Message } from '../notify.ts'

const timeoutMs = 20_000

/** Mail over SMTP (RFC 5321); TLS from the start with `tls: implicit`, else STARTTLS where `tls` is not `none`. @throws AppError `usage` */
export function openSmtp({ settings, secret }: ChannelAccess): Channel {
  const { server = '', port = '587', from = '', to = '', user = '', tls = 'starttls' } = settings
  if (server === '' || from === '' || to === '') throw new AppError('usage', 'an smtp channel needs "server", "from" and "to"')
  if (!['implicit', 'starttls', 'none'].includes(tls))
    throw new AppError('usage', `"tls" is "${tls}", expected implicit, starttls or none`)
  if (user !== '' && tls === 'none') throw new AppError('usage', 'a password is not sent without TLS: set "tls"')
  const transport = createTransport({
    host: server,
    port: Number(port),
    secure: tls === 'implicit',
    requireTLS: tls === 'starttls',
    ignoreTLS: tls === 'none',
    ...(user === '' ? {} : { auth: { user, pass: secret } }),
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
  })
  return {
    async send(message) {
      try {
        await transport.sendMail({
          from,
          to,
          subject: subjectOf(message),
          text: `${message.title}\n\n${message.text}\n`,
          messageId: `<${message.key}@certautopilot>`,
        })
      } catch (error) {
        throw translated(error, server)
      } finally {
        transport.close()
      }
    },
  }
}

function subjectOf({ severity, title }: Message): string {
  return severity === 'info' ? `CertAutopilot: ${title}` : `[${severity}] CertAutopilot: ${title}`
}

function translated(error: unknown, server: string): AppError {
  const { responseCode, code } = error as { responseCode?: number; code?: string }
  if (responseCode !== undefined || code === 'EAUTH')
    return new AppError('refused-by-channel', `"${server}" does not take the mail: ${messageOf(error)}`, { cause: error })
  return new AppError('unreachable', `cannot reach the mail server "${server}": ${messageOf(error)}`, { cause: error })
}
