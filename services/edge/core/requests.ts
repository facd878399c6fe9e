import Type from 'typebox'
import Schema from 'typebox/schema'
import { ChatError } from '#libs/domain/errors.ts'
import type { ClientFrame, RequestId } from '#libs/domain/frames.ts'

const Id = Type.Optional(Type.Union([Type.Integer({ minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER }), Type.String({ minLength: 1, maxLength: 64 })]))
const Room = Type.String({ pattern: '^[A-Za-z0-9._:-]{1,128}$' })
const Seq = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })

/** Fields that are not named are allowed and have no meaning, so that newer clients can talk to older nodes. */
const requests = {
  join: Schema.Compile(Type.Object({ id: Id, type: Type.Literal('join'), roomId: Room, since: Type.Optional(Seq) })),
  leave: Schema.Compile(Type.Object({ id: Id, type: Type.Literal('leave'), roomId: Type.Optional(Room) })),
  sendMessage: Schema.Compile(
    Type.Object({ id: Id, type: Type.Literal('sendMessage'), roomId: Type.Optional(Room), clientMessageId: Type.Optional(Type.String({ maxLength: 64 })), message: Type.String() }),
  ),
  authenticate: Schema.Compile(Type.Object({ id: Id, type: Type.Literal('authenticate'), token: Type.String({ minLength: 1, maxLength: 8_192 }) })),
  ping: Schema.Compile(Type.Object({ id: Id, type: Type.Literal('ping') })),
} satisfies Record<ClientFrame['type'], unknown>

export type ParsedRequest =
  | { readonly ok: true; readonly frame: ClientFrame }
  /** `id` where one could be read, so that the refusal finds its request. */
  | { readonly ok: false; readonly id: RequestId | undefined; readonly error: ChatError }

/** Parses one text frame. Never throws. */
export function parseRequest(text: string): ParsedRequest {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return { ok: false, id: undefined, error: new ChatError('malformed_frame', 'not JSON') }
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return { ok: false, id: undefined, error: new ChatError('malformed_frame', 'not a JSON object') }
  }
  const { id: rawId, type } = value as { id?: unknown; type?: unknown }
  const id = isRequestId(rawId) ? rawId : undefined
  if (typeof type !== 'string' || !Object.hasOwn(requests, type)) {
    return { ok: false, id, error: new ChatError('unknown_type', `one of ${Object.keys(requests).join(', ')}`) }
  }
  const validator = requests[type as ClientFrame['type']]
  if (validator.Check(value)) return { ok: true, frame: value as ClientFrame }
  const [, problems] = validator.Errors(value)
  const first = problems[0]
  return { ok: false, id, error: new ChatError('malformed_frame', first ? `${first.instancePath || 'frame'} ${first.message}` : undefined) }
}

function isRequestId(raw: unknown): raw is RequestId {
  return Number.isSafeInteger(raw) || (typeof raw === 'string' && raw.length >= 1 && raw.length <= 64)
}
