/**
 * The one catalogue of refusals: every code that a client, an operator or a dead-letter header can see.
 *
 * `retriable` says whether the same request may succeed later without being changed. `httpStatus` is what the api and
 * the edge's handshake answer. Retired codes are never used again for something else. `docs/protocol.md` lists them all
 * (held by test/tidy.test.ts).
 */
export const errorCatalogue = {
  // Who is asking
  token_missing: { retriable: false, httpStatus: 401, message: 'no token was sent: use Authorization: Bearer <jwt>' },
  token_invalid: { retriable: false, httpStatus: 401, message: 'the token is not valid here' },
  token_expired: { retriable: false, httpStatus: 401, message: 'the token has expired: get a new one' },
  user_id_mismatch: { retriable: false, httpStatus: 401, message: 'user_id is not the subject of the token' },
  origin_not_allowed: { retriable: false, httpStatus: 403, message: 'this origin is not on the allow-list' },
  // What they may do
  not_a_participant: { retriable: false, httpStatus: 403, message: 'you are not a participant of this room' },
  admin_is_read_only: { retriable: false, httpStatus: 403, message: 'admins read everything and write nothing' },
  moderator_only: { retriable: false, httpStatus: 403, message: 'this needs the role moderator' },
  admin_only: { retriable: false, httpStatus: 403, message: 'this needs the role admin' },
  room_not_found: { retriable: false, httpStatus: 404, message: 'no such room' },
  room_read_only: { retriable: false, httpStatus: 409, message: 'the room is closed for writing' },
  not_joined: { retriable: false, httpStatus: 409, message: 'join the room on this socket first' },
  not_allowed: { retriable: false, httpStatus: 403, message: 'your role in this room does not allow this' },
  not_invited: { retriable: false, httpStatus: 403, message: 'you are not invited to this room' },
  message_not_allowed: { retriable: false, httpStatus: 403, message: 'messages cannot be exchanged in this room' },
  wrong_room_kind: { retriable: false, httpStatus: 409, message: 'this is not possible in a room of this kind' },
  message_not_found: { retriable: false, httpStatus: 404, message: 'no such message in this room, or too old for this' },
  room_frozen: { retriable: false, httpStatus: 409, message: 'a moderator has frozen the room: nobody can write for now' },
  content_not_allowed: { retriable: false, httpStatus: 422, message: 'the message has words that are not allowed here' },
  link_not_allowed: { retriable: false, httpStatus: 422, message: 'links to this host are not allowed here' },
  duplicate_flood: { retriable: true, httpStatus: 429, message: 'the same message too often: say something else, or wait' },
  chat_not_found: { retriable: false, httpStatus: 404, message: 'no such chat among yours' },
  message_deleted: { retriable: false, httpStatus: 409, message: 'the message was deleted' },
  edit_window_over: { retriable: false, httpStatus: 409, message: 'the message is too old to be edited or deleted' },
  // What they sent
  malformed_frame: { retriable: false, httpStatus: 400, message: 'the frame is not a valid request' },
  unknown_type: { retriable: false, httpStatus: 400, message: 'no such request type' },
  invalid_room_id: { retriable: false, httpStatus: 400, message: 'a room id is 1 to 128 of A-Z a-z 0-9 . _ : -' },
  invalid_request: { retriable: false, httpStatus: 400, message: 'the request is not valid' },
  invalid_client_message_id: { retriable: false, httpStatus: 400, message: 'clientMessageId must be a UUIDv7 or a ULID' },
  client_message_id_expired: {
    retriable: false,
    httpStatus: 409,
    message: 'the time in clientMessageId is older than 7 days or more than 5 minutes ahead of the server',
  },
  content_empty: { retriable: false, httpStatus: 400, message: 'a message has at least 1 character' },
  content_too_long: { retriable: false, httpStatus: 400, message: 'the message has more characters than allowed (4,000 unless configured otherwise)' },
  content_invalid: { retriable: false, httpStatus: 400, message: 'a message is well-formed Unicode without U+0000' },
  invalid_attachment: { retriable: false, httpStatus: 400, message: 'an attachment, location or card is not valid' },
  frame_too_large: { retriable: false, httpStatus: 413, message: 'the frame is larger than the limit' },
  // How much they sent
  rate_limited: { retriable: true, httpStatus: 429, message: 'too many requests: slow down' },
  too_many_connections: { retriable: true, httpStatus: 429, message: 'this user has too many open connections' },
  too_many_pending: { retriable: true, httpStatus: 429, message: 'too many requests without an answer on this socket' },
  too_many_participants: { retriable: false, httpStatus: 409, message: 'the room has as many people as it may have' },
  too_many_changes: { retriable: true, httpStatus: 429, message: 'too many messages of this room were edited or deleted in a short time' },
  too_many_rooms: { retriable: false, httpStatus: 429, message: 'too many rooms: those that a socket has joined, and the conversations that a user has made, are limited' },
  // What is out of order on our side
  unavailable: { retriable: true, httpStatus: 503, message: 'a server that this needs cannot be reached: try again' },
  history_unavailable: { retriable: true, httpStatus: 503, message: 'the history cannot be read now: try again' },
  outcome_unknown: {
    retriable: true,
    httpStatus: 503,
    message: 'no answer in time: send again with the same clientMessageId, it will not be doubled',
  },
  shutting_down: { retriable: true, httpStatus: 503, message: 'this node is going down: connect again' },
  upgrade_required: { retriable: false, httpStatus: 426, message: 'access is granted: connect by WebSocket' },
  not_found: { retriable: false, httpStatus: 404, message: 'no such resource' },
  internal: { retriable: true, httpStatus: 500, message: 'something went wrong on our side' },
  // Records that cannot be processed (headers of the dead-letter topics)
  bad_json: { retriable: false, httpStatus: 400, message: 'the body is not JSON' },
  unknown_event_type: { retriable: false, httpStatus: 400, message: 'no such order event type' },
  invalid_event: { retriable: false, httpStatus: 400, message: 'a field of the order event is missing or malformed' },
  event_too_old: { retriable: false, httpStatus: 400, message: 'the order event is older than 28 days' },
  undecodable: { retriable: false, httpStatus: 400, message: 'the record cannot be decoded' },
  delivery_refused: { retriable: false, httpStatus: 502, message: 'a notification cannot be delivered' },
  wrong_partition: { retriable: false, httpStatus: 400, message: 'the record is not in the partition of its key' },
  // What stops a process: an operator has to look (docs/operations.md)
  config_invalid: { retriable: false, httpStatus: 500, message: 'the configuration is not valid' },
  log_corrupt: { retriable: false, httpStatus: 500, message: 'a log contradicts what was acknowledged before' },
  input_position_lost: { retriable: false, httpStatus: 500, message: 'an input position is outside what the topic still holds' },
  ownership_lost: { retriable: true, httpStatus: 503, message: 'another owner has taken the partition over' },
  append_unknown: { retriable: true, httpStatus: 503, message: 'the outcome of an append is unknown' },
  duplicate_row: { retriable: false, httpStatus: 500, message: 'a room event is in Postgres already' },
} as const satisfies Record<string, { retriable: boolean; httpStatus: number; message: string }>

export type ErrorCode = keyof typeof errorCatalogue

/** An error with a code of the catalogue. Errors of any other class are strangers: never retriable by our own rules. */
export class ChatError extends Error {
  readonly code: ErrorCode
  readonly retryAfterMs: number | undefined

  constructor(code: ErrorCode, detail?: string, options: { cause?: unknown; retryAfterMs?: number } = {}) {
    const { message } = errorCatalogue[code]
    super(detail === undefined ? message : `${message}: ${detail}`, options.cause === undefined ? {} : { cause: options.cause })
    this.name = 'ChatError'
    this.code = code
    this.retryAfterMs = options.retryAfterMs
  }

  get retriable(): boolean {
    return errorCatalogue[this.code].retriable
  }

  get httpStatus(): number {
    return errorCatalogue[this.code].httpStatus
  }
}

export const isRetriable = (err: unknown): boolean => err instanceof ChatError && err.retriable
export const hasCode = (err: unknown, code: ErrorCode): boolean => err instanceof ChatError && err.code === code
