import { ChatError, type ErrorCode, errorCatalogue } from '#libs/domain/errors.ts'

/** What only a client can say, beside the codes of the server's catalogue. libs/client/README.md lists them all. */
export const clientErrors = {
  client_closed: { retriable: false, message: 'the client has been closed' },
  outbox_full: { retriable: true, message: 'too many messages wait to be sent' },
  operations_full: { retriable: true, message: 'too many requests wait for their answer' },
  sender_changed: { retriable: false, message: 'the message or request was written by another user than the one who is connected' },
  room_left: { retriable: false, message: 'the room was left: join it again first' },
  connect_failed: { retriable: true, message: 'the server cannot be reached' },
  connect_timeout: { retriable: true, message: 'the server did not answer in time' },
  connection_lost: { retriable: true, message: 'the connection was lost' },
  connection_silent: { retriable: true, message: 'nothing was heard from the server for too long' },
  request_timeout: { retriable: true, message: 'a request got no answer' },
  token_unavailable: { retriable: true, message: 'the token provider failed' },
  storage_failed: { retriable: true, message: 'the outbox storage failed' },
  bad_frame: { retriable: false, message: 'the server sent something that is no frame of chat.v1' },
} as const satisfies Record<string, { retriable: boolean; message: string }>

export type ClientOnlyCode = keyof typeof clientErrors
/** A newer server may send a code that this client has never heard of: `retriable` then is what the server said. */
export type ClientErrorCode = ClientOnlyCode | ErrorCode | (string & {})

/** Every error that this library throws, rejects with or reports carries a code and says whether trying again may help. */
export class ChatClientError extends Error {
  readonly code: ClientErrorCode
  readonly retriable: boolean
  readonly retryAfterMs: number | undefined

  constructor(code: ClientErrorCode, options: { detail?: string; retriable?: boolean; retryAfterMs?: number; cause?: unknown } = {}) {
    const known = knownError(code)
    const { detail, cause, retryAfterMs, retriable = known?.retriable ?? false } = options
    const message = known?.message ?? code
    super(detail === undefined ? message : `${message}: ${detail}`, cause === undefined ? {} : { cause })
    this.name = 'ChatClientError'
    this.code = code
    this.retriable = retriable
    this.retryAfterMs = retryAfterMs
  }
}

export const toClientError = (err: unknown, otherwise: ClientOnlyCode): ChatClientError => {
  if (err instanceof ChatClientError) return err
  if (err instanceof ChatError) return new ChatClientError(err.code, { cause: err })
  return new ChatClientError(otherwise, { cause: err, detail: err instanceof Error ? err.message : String(err) })
}

function knownError(code: string): { readonly retriable: boolean; readonly message: string } | undefined {
  if (Object.hasOwn(clientErrors, code)) return clientErrors[code as ClientOnlyCode]
  return Object.hasOwn(errorCatalogue, code) ? errorCatalogue[code as ErrorCode] : undefined
}
