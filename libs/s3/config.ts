import { ChatError } from '#libs/domain/errors.ts'
import { type Env, envInt, envOptional, envUrl } from '#libs/runtime/env.ts'

export type S3Config = {
  readonly bucket: string
  /** Undefined: AWS. Presigned URLs name it, so it is the address by which clients reach the store. */
  readonly endpoint: string | undefined
  /** Undefined: as the SDK's default chain finds it; so are the credentials. */
  readonly region: string | undefined
  /** How long a presigned URL is good. */
  readonly urlTtlS: number
}

/** Undefined where no bucket is named: then there are no uploads. */
export function s3ConfigFromEnv(env: Env): S3Config | undefined {
  const bucket = envOptional(env, 'S3_BUCKET')
  const endpoint = envOptional(env, 'S3_ENDPOINT') === undefined ? undefined : envUrl(env, 'S3_ENDPOINT')
  const urlTtlS = envInt(env, 'S3_URL_TTL_S', 300, { min: 10, max: 604_800 })
  if (bucket === undefined) return undefined
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket)) throw new ChatError('config_invalid', `S3_BUCKET is no name of a bucket: "${bucket}"`)
  // A store that is not AWS may call its region anything, and must be told something.
  return { bucket, endpoint, region: envOptional(env, 'AWS_REGION') ?? (endpoint === undefined ? undefined : 'us-east-1'), urlTtlS }
}
