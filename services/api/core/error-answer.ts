import { ChatError, type ErrorCode, errorCatalogue } from '#libs/domain/errors.ts'

export type ErrorBody = {
  readonly code: ErrorCode
  readonly message: string
  readonly retriable: boolean
  readonly retryAfterMs?: number
}

export type ErrorAnswer = { readonly status: number; readonly body: ErrorBody }

const RETRY_AFTER_MS = 1_000

/** One of ours whose words are meant for clients, although it is our side that is out of order. */
export class ToldError extends ChatError {}

/**
 * What a client is told about any error. Ours with 4xx say what was wrong in the request; everything else gives only
 * the catalogue's sentence, whatever the error itself says.
 */
export function errorAnswer(err: unknown): ErrorAnswer {
  if (err instanceof ChatError) return answer(err.code, err.httpStatus < 500 || err instanceof ToldError ? err.message : undefined, err.retryAfterMs)
  const { validation, validationContext, statusCode, message } = (err ?? {}) as Partial<HttpError>
  if (validation) {
    if (validationContext === 'params' && ROOM_PARAMS.has(validation[0]?.instancePath ?? '')) return answer('invalid_room_id')
    return answer('invalid_request', `${errorCatalogue.invalid_request.message}: ${message?.replace(/^(querystring|params|body)\//, '')}`)
  }
  if (statusCode === 413) return answer('frame_too_large')
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) return answer('invalid_request')
  return answer('internal')
}

/** Parameters of a path that name a room. */
const ROOM_PARAMS: ReadonlySet<string> = new Set(['/id', '/chatId', '/roomId'])

/** What the HTTP framework adds to its own errors. */
type HttpError = {
  readonly message: string
  readonly statusCode: number
  readonly validation: readonly { readonly instancePath?: string }[]
  readonly validationContext: string
}

function answer(code: ErrorCode, message?: string, retryAfterMs?: number): ErrorAnswer {
  const known = errorCatalogue[code]
  const pauseMs = retryAfterMs ?? (known.retriable ? RETRY_AFTER_MS : undefined)
  return {
    status: known.httpStatus,
    body: {
      code,
      message: message ?? known.message,
      retriable: known.retriable,
      ...(pauseMs !== undefined && { retryAfterMs: pauseMs }),
    },
  }
}
