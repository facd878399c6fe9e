import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { s3ConfigFromEnv } from './config.ts'
import { createPresigner } from './presigner.ts'

describe('the store of files', () => {
  test('is there where a bucket is named', () => {
    expect(s3ConfigFromEnv({})).toBeUndefined()
    expect(s3ConfigFromEnv({ S3_ENDPOINT: 'http://s3' })).toBeUndefined()
    expect(s3ConfigFromEnv({ S3_BUCKET: 'files' })).toEqual({ bucket: 'files', endpoint: undefined, region: undefined, urlTtlS: 300 })
    expect(s3ConfigFromEnv({ S3_BUCKET: 'files', S3_ENDPOINT: 'http://s3', S3_URL_TTL_S: '60' })).toEqual({ bucket: 'files', endpoint: 'http://s3', region: 'us-east-1', urlTtlS: 60 })
    expect(s3ConfigFromEnv({ S3_BUCKET: 'files', AWS_REGION: 'eu-north-1' })).toMatchObject({ region: 'eu-north-1' })
    for (const env of [{ S3_BUCKET: 'Not A Bucket' }, { S3_BUCKET: 'files', S3_ENDPOINT: 'no url' }, { S3_BUCKET: 'files', S3_URL_TTL_S: '1' }]) {
      expect(() => s3ConfigFromEnv(env)).toThrow(expect.objectContaining({ code: 'config_invalid' }))
    }
  })
})

describe('a presigned URL', () => {
  beforeAll(() => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'local')
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'local')
  })
  afterAll(() => {
    vi.unstubAllEnvs()
  })
  const presigner = createPresigner({ bucket: 'files', endpoint: 'http://127.0.0.1:9', region: 'us-east-1', urlTtlS: 60 })
  afterAll(() => presigner.close())

  test('for an upload is bound to key, type and size, and asks for no checksum of nothing', async () => {
    const startedMs = Date.now()
    const { url, headers, expiresAtMs } = await presigner.put({ key: 'rooms/a%3Ab/k', mimeType: 'image/png', bytes: 5 })
    const { origin, pathname, searchParams } = new URL(url)
    expect([origin, pathname]).toEqual(['http://127.0.0.1:9', '/files/rooms/a%253Ab/k'])
    expect(searchParams.get('X-Amz-SignedHeaders')).toBe('content-length;content-type;host')
    expect(searchParams.get('X-Amz-Expires')).toBe('60')
    expect([...searchParams.keys()].filter((name) => name.includes('checksum'))).toEqual([])
    expect(headers).toEqual({ 'content-type': 'image/png', 'content-length': '5' })
    expect(expiresAtMs).toBeGreaterThanOrEqual(startedMs + 60_000)
  })

  test('for a file is never a page of the store', async () => {
    const { url } = await presigner.get('rooms/r/k')
    expect(new URL(url).searchParams.get('response-content-disposition')).toBe('attachment')
  })
})
