import { Type } from '@fastify/type-provider-typebox'
import { fixedLimits } from '#libs/domain/limits.ts'
import { type MessageType, messageTypes } from '#libs/domain/room.ts'
import { messageId, roomId, seq, strict, subjectId, timeMs, userId } from './schemas.ts'

/** Bodies of what is written, and what it gives. Fields that are not named are refused. */
const clientMessageId = Type.Optional(
  Type.String({ maxLength: 64, description: 'UUIDv7 or ULID: asked for again with the same one, it is done once. Left out: one is made, and a retry may double' }),
)
export const clientName = { clientMessageId }
const name = Type.Optional(Type.String({ maxLength: 4 * fixedLimits.nameCharsMax, description: `At most ${fixedLimits.nameCharsMax} characters` }))
const metadata = Type.Optional(
  Type.Record(Type.String({ maxLength: fixedLimits.metadataKeyCharsMax }), Type.String({ maxLength: fixedLimits.metadataValueCharsMax }), {
    description: `At most ${fixedLimits.metadataEntriesMax} entries; replaces what there was`,
  }),
)

/** Of writes that need nothing else. */
export const bareBody = Type.Object(clientName, strict)

export const newRoomBody = Type.Object(
  {
    ...clientName,
    kind: Type.Union([Type.Literal('direct'), Type.Literal('group')]),
    participants: Type.Array(userId, { maxItems: 1_000, uniqueItems: true, description: 'The others; one for direct. Oneself is in, as the owner of a group' }),
    clientId: Type.Optional(Type.String({ pattern: '^[!-~]{1,128}$', description: "One's own id of a group: creating it again with the same one gives the same room. Default: clientMessageId" })),
    name,
    metadata,
    history: Type.Optional(Type.Union([Type.Literal('all'), Type.Literal('fromJoin')], { description: 'What newcomers of a group see; default all' })),
  },
  strict,
)

const attachment = Type.Object(
  {
    url: Type.Optional(Type.String({ maxLength: 2_048 })),
    key: Type.Optional(Type.String({ maxLength: 2_048, description: 'From POST /rooms/{id}/attachments' })),
    mimeType: Type.String({ maxLength: 255 }),
    bytes: Type.Integer({ minimum: 0 }),
    name: Type.String({ maxLength: 255 }),
    width: Type.Optional(Type.Integer({ description: 'Pixels' })),
    height: Type.Optional(Type.Integer()),
  },
  strict,
)

export const messageBody = Type.Object(
  {
    ...clientName,
    message: Type.String({ description: 'May be empty beside attachments, a location or a card' }),
    messageType: Type.Optional(Type.Unsafe<Exclude<MessageType, 'system'>>({ type: 'string', enum: messageTypes.filter((type) => type !== 'system'), description: 'Default: text' })),
    replyTo: Type.Optional(messageId),
    mentions: Type.Optional(Type.Array(userId, { maxItems: fixedLimits.mentionsMax, uniqueItems: true })),
    attachments: Type.Optional(Type.Array(attachment, { maxItems: 100 })),
    location: Type.Optional(Type.Object({ latitude: Type.Number(), longitude: Type.Number(), label: Type.Optional(Type.String({ maxLength: 255 })) }, strict)),
    productId: Type.Optional(subjectId),
    orderId: Type.Optional(subjectId),
  },
  strict,
)
export const editBody = Type.Object({ ...clientName, message: Type.String() }, strict)

export const reactionParams = Type.Object({ id: roomId, messageId, emoji: Type.String({ minLength: 1, maxLength: 64, description: 'Percent-encoded' }) })
export const marksBody = Type.Object(
  {
    delivered: Type.Optional(seq('messageIndex up to which everything was delivered')),
    seen: Type.Optional(seq('messageIndex up to which everything was seen')),
    hidden: Type.Optional(Type.Boolean({ description: "Others are not told. So it is anyway where one's settings hide receipts" })),
    ...clientName,
  },
  strict,
)
export const participantBody = Type.Object(
  { ...clientName, userId, role: Type.Optional(Type.Union([Type.Literal('owner'), Type.Literal('member'), Type.Literal('observer')], { description: 'Default: member' })) },
  strict,
)
export const participantParams = Type.Object({ id: roomId, userId })
export const roomChangeBody = Type.Object({ ...clientName, name, metadata }, strict)

export const settingsBody = Type.Object({ ...clientName, hideReceipts: Type.Optional(Type.Boolean()), hideLastSeen: Type.Optional(Type.Boolean()) }, strict)

export const jobBody = Type.Object(
  { ...clientName, clientId: userId, providerId: userId, jobId: Type.Optional(subjectId) },
  strict,
)
export const jobParams = Type.Object({ jobId: subjectId })
export const disputeParams = Type.Object({ chatId: roomId })
export const mediatorBody = Type.Object({ ...clientName, userId }, strict)
export const resolveBody = Type.Object(
  { ...clientName, note: Type.Optional(Type.String({ maxLength: 4 * fixedLimits.noteCharsMax, description: `At most ${fixedLimits.noteCharsMax} characters` })) },
  strict,
)

export const attachmentBody = Type.Object(
  { ...clientName, name: Type.String({ maxLength: 255 }), mimeType: Type.String({ maxLength: 255, examples: ['image/png'] }), bytes: Type.Integer({ minimum: 0 }) },
  strict,
)
export const attachmentParams = Type.Object({ id: roomId, key: Type.String({ maxLength: 1_024, description: 'Percent-encoded' }) })

const answerFields = {
  seq: seq("The event's place in the room; where nothing changed, the room's head"),
  timestamp: Type.Optional(timeMs('When it was accepted')),
  repeated: Type.Optional(Type.Boolean({ description: 'This clientMessageId was accepted before: this is the answer of then' })),
  unchanged: Type.Optional(Type.Boolean({ description: 'It was so already' })),
} as const

export const commandAnswer = Type.Object({
  roomId: Type.String(),
  messageId: Type.Optional(Type.String({ description: 'Of the message that was sent, or that it is about' })),
  messageIndex: Type.Optional(seq('Counts only messages, from 1')),
  ...answerFields,
})
export const jobAnswer = Type.Object({ jobId: Type.String(), chatId: Type.String({ description: 'The room of the job' }), ...answerFields })
export const disputeAnswer = Type.Object({ disputeId: Type.String(), chatId: Type.String({ description: "The dispute's room; the same as disputeId" }), ...answerFields })
export const uploadAnswer = Type.Object({
  key: Type.String({ description: 'For the attachment of a message' }),
  url: Type.String({ description: 'PUT the file here, with just the headers given' }),
  headers: Type.Record(Type.String(), Type.String()),
  expiresAtMs: timeMs('When the URL ends'),
})
export const downloadAnswer = Type.Object({ url: Type.String({ description: 'GET the file here, without a token' }), expiresAtMs: timeMs('When the URL ends') })
export const productParams = Type.Object({ productId: subjectId })
