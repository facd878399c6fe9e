import { GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { ChatError } from '#libs/domain/errors.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import type { S3Config } from './config.ts'

export type Upload = { readonly key: string; readonly mimeType: string; readonly bytes: number }
export type Presigned = { readonly url: string; readonly expiresAtMs: number }

/** URLs by which clients put and get files themselves. Made here, without asking the store. */
export type Presigner = {
  /** Good for one key, with just this type and size, sent as the headers given. @throws ChatError `unavailable` without credentials */
  put(upload: Upload): Promise<Presigned & { readonly headers: Readonly<Record<string, string>> }>
  /** Browsers show what comes from it inside a page, and save it when they are led to it. */
  get(key: string): Promise<Presigned>
  close(): void
}

export function createPresigner({ bucket: Bucket, endpoint, region, urlTtlS }: S3Config): Presigner {
  const client = new S3Client({
    ...(endpoint !== undefined && { endpoint, forcePathStyle: true }),
    ...(region !== undefined && { region }),
    // Else the URL would ask for the checksum of an empty file.
    requestChecksumCalculation: 'WHEN_REQUIRED',
  })
  const signed = async (sign: () => Promise<string>): Promise<Presigned> => {
    const expiresAtMs = systemClock.nowMs() + urlTtlS * 1_000
    try {
      return { url: await sign(), expiresAtMs }
    } catch (err) {
      throw new ChatError('unavailable', 'no credentials for the store of files', { cause: err })
    }
  }
  return {
    async put({ key: Key, mimeType, bytes }) {
      const command = new PutObjectCommand({ Bucket, Key, ContentType: mimeType, ContentLength: bytes })
      const signableHeaders = new Set(['host', 'content-type', 'content-length'])
      const url = await signed(() => getSignedUrl(client, command, { expiresIn: urlTtlS, signableHeaders }))
      return { ...url, headers: { 'content-type': mimeType, 'content-length': String(bytes) } }
    },
    get: (Key) => {
      const command = new GetObjectCommand({ Bucket, Key, ResponseContentDisposition: 'attachment' })
      return signed(() => getSignedUrl(client, command, { expiresIn: urlTtlS }))
    },
    close: () => client.destroy(),
  }
}
