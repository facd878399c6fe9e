import Type, { type TProperties } from 'typebox'
import Schema from 'typebox/schema'
import { ChatError } from '#libs/domain/errors.ts'
import type { ClientFrame, RequestId } from '#libs/domain/frames.ts'
import { FOREVER_MS } from '#libs/domain/inbox.ts'
import { fixedLimits } from '#libs/domain/limits.ts'
import { messageTypes, reportReasons } from '#libs/domain/room.ts'

const Id = Type.Optional(Type.Union([Type.Integer({ minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER }), Type.String({ minLength: 1, maxLength: 64 })]))
const Room = Type.String({ pattern: '^[A-Za-z0-9._:-]{1,128}$' })
const Seq = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
/** A message's: avsc writes no larger number. */
const Index = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER - 1 })
const User = Type.String({ pattern: '^[\\x21-\\x7e]{1,128}$' })
const Message = Type.String({ format: 'uuid' })
const Name = Type.Optional(Type.String({ maxLength: 4 * fixedLimits.nameCharsMax }))
const Metadata = Type.Optional(Type.Record(Type.String({ maxLength: fixedLimits.metadataKeyCharsMax }), Type.String({ maxLength: fixedLimits.metadataValueCharsMax })))
const ofRoom = { id: Id, roomId: Type.Optional(Room) }
/** What becomes an event of the room: asked for again with the same id it is the same. */
const ofCommand = { ...ofRoom, clientMessageId: Type.Optional(Type.String({ maxLength: 64 })) }
// What is in it is judged by payloadProblem, which the log asks too.
const Payload = { attachments: Type.Optional(Type.Array(Type.Unknown())), location: Type.Optional(Type.Unknown()), productId: Type.Optional(Type.String()), orderId: Type.Optional(Type.String()) }
const Attachable = Type.Union(messageTypes.filter((type) => type !== 'system').map((type) => Type.Literal(type)))

const command = <T extends string, P extends TProperties>(type: T, fields: P) => Schema.Compile(Type.Object({ ...ofCommand, type: Type.Literal(type), ...fields }))

/** Fields that are not named are allowed and have no meaning, so that newer clients can talk to older nodes. */
const requests = {
  join: Schema.Compile(Type.Object({ id: Id, type: Type.Literal('join'), roomId: Room, since: Type.Optional(Seq) })),
  leave: Schema.Compile(Type.Object({ id: Id, type: Type.Literal('leave'), roomId: Type.Optional(Room) })),
  sendMessage: command('sendMessage', {
    message: Type.String(),
    messageType: Type.Optional(Attachable),
    replyTo: Type.Optional(Message),
    // No uniqueItems: it looks into items of any depth before it knows that they are texts, and runs out of stack.
    mentions: Type.Optional(Type.Array(User, { maxItems: fixedLimits.mentionsMax })),
    ...Payload,
  }),
  editMessage: command('editMessage', { messageId: Message, message: Type.String() }),
  deleteMessage: command('deleteMessage', { messageId: Message }),
  react: command('react', { messageId: Message, emoji: Type.String({ minLength: 1, maxLength: fixedLimits.emojiCharsMax }), on: Type.Optional(Type.Boolean()) }),
  mark: Schema.Compile(Type.Object({ ...ofRoom, type: Type.Literal('mark'), delivered: Type.Optional(Index), seen: Type.Optional(Index), hidden: Type.Optional(Type.Boolean()) })),
  typing: Schema.Compile(Type.Object({ ...ofRoom, type: Type.Literal('typing'), on: Type.Boolean() })),
  setPresence: Schema.Compile(
    Type.Object({ id: Id, type: Type.Literal('setPresence'), status: Type.Union([Type.Literal('online'), Type.Literal('away')]), hideLastSeen: Type.Optional(Type.Boolean()) }),
  ),
  watchProducts: Schema.Compile(Type.Object({ id: Id, type: Type.Literal('watchProducts'), productIds: Type.Array(Room, { maxItems: 100 }) })),
  createConversation: Schema.Compile(
    Type.Object({
      id: Id,
      type: Type.Literal('createConversation'),
      kind: Type.Union([Type.Literal('direct'), Type.Literal('group')]),
      participants: Type.Array(User, { maxItems: 1_000 }),
      clientId: Type.Optional(Type.String({ pattern: '^[\\x21-\\x7e]{1,128}$' })),
      name: Name,
      metadata: Metadata,
      history: Type.Optional(Type.Union([Type.Literal('all'), Type.Literal('fromJoin')])),
    }),
  ),
  addParticipant: command('addParticipant', { userId: User, role: Type.Optional(Type.Union([Type.Literal('owner'), Type.Literal('member'), Type.Literal('observer')])) }),
  removeParticipant: command('removeParticipant', { userId: User }),
  changeRoom: command('changeRoom', { name: Name, metadata: Metadata }),
  inviteMediator: command('inviteMediator', { userId: User }),
  acceptInvitation: command('acceptInvitation', {}),
  resolveDispute: command('resolveDispute', { note: Type.Optional(Type.String({ maxLength: 4 * fixedLimits.noteCharsMax })) }),
  reportMessage: command('reportMessage', {
    messageId: Message,
    reason: Type.Union(reportReasons.map((reason) => Type.Literal(reason))),
    note: Type.Optional(Type.String({ maxLength: 4 * fixedLimits.noteCharsMax })),
  }),
  sync: Schema.Compile(Type.Object({ id: Id, type: Type.Literal('sync'), cursor: Type.Optional(Seq) })),
  setChat: Schema.Compile(
    Type.Object({ id: Id, type: Type.Literal('setChat'), roomId: Room, mutedUntilMs: Type.Optional(Type.Integer({ minimum: 0, maximum: FOREVER_MS })), archived: Type.Optional(Type.Boolean()) }),
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
  const problem = problemOf(type as ClientFrame['type'], value)
  return problem === undefined ? { ok: true, frame: value as ClientFrame } : { ok: false, id, error: new ChatError('malformed_frame', problem) }
}

function problemOf(type: ClientFrame['type'], value: object): string | undefined {
  const validator = requests[type]
  try {
    if (validator.Check(value)) return undefined
    const [, [first]] = validator.Errors(value)
    return first ? `${first.instancePath || 'frame'} ${first.message}` : 'of no known form'
  } catch {
    // JSON may be nested more deeply than the validator's calls can be.
    return 'nested too deeply'
  }
}

function isRequestId(raw: unknown): raw is RequestId {
  return Number.isSafeInteger(raw) || (typeof raw === 'string' && raw.length >= 1 && raw.length <= 64)
}
