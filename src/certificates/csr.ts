import 'reflect-metadata'
import * as x509 from '@peculiar/x509'
import { AppError, messageOf } from '../core/app-error.ts'

/** Reads a PKCS#10 request (RFC 2986) and checks that it was signed with its own key. @throws AppError `usage` */
export async function readCsr(pem: string): Promise<{ publicKey: Buffer; names: string[] }> {
  const request = parsed(pem)
  if (!(await request.verify().catch(() => false))) throw new AppError('usage', 'the CSR is not signed with its own key')
  const extension = request.getExtension('2.5.29.17')
  const sans = extension === null ? [] : new x509.SubjectAlternativeNameExtension(extension.rawData).names.toJSON()
  const names = sans.filter((name) => name.type === 'dns' || name.type === 'ip').map((name) => name.value)
  const commonName = request.subjectName.getField('CN')[0]
  const isListed = commonName === undefined || names.includes(commonName)
  return { publicKey: Buffer.from(request.publicKey.rawData), names: isListed ? names : [commonName, ...names] }
}

function parsed(pem: string): x509.Pkcs10CertificateRequest {
  try {
    return new x509.Pkcs10CertificateRequest(pem)
  } catch (error) {
    throw new AppError('usage', `not a certificate signing request: ${messageOf(error)}`, {
      hint: 'it starts with -----BEGIN CERTIFICATE REQUEST-----',
      cause: error,
    })
  }
}
