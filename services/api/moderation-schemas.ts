import { Type } from '@fastify/type-provider-typebox'
import { fixedLimits } from '#libs/domain/limits.ts'
import { reportReasons } from '#libs/domain/room.ts'
import { messageId, nullable, pageLimit, roomId, seq, strict, timeMs, userId } from './schemas.ts'
import { clientName } from './write-schemas.ts'

/** Reports, and what moderators do. */
const text = (description: string) => Type.String({ maxLength: 4 * fixedLimits.noteCharsMax, description: `${description}; at most ${fixedLimits.noteCharsMax} characters` })
const reason = text('Is shown to the people of the room, and stays in the record')

export const reportBody = Type.Object(
  {
    ...clientName,
    reason: Type.Union(reportReasons.map((one) => Type.Literal(one))),
    note: Type.Optional(text('For moderators')),
  },
  strict,
)

export const moderatedRoomParams = Type.Object({ id: roomId })
export const freezeBody = Type.Object({ ...clientName, on: Type.Boolean(), reason: Type.Optional(reason) }, strict)
export const redactionBody = Type.Object({ ...clientName, messageId, reason }, strict)
export const removalBody = Type.Object({ ...clientName, userId, reason }, strict)

export const reportsQuery = Type.Object(
  {
    state: Type.Optional(Type.Union([Type.Literal('open'), Type.Literal('closed')], { description: 'Open: the message is still shown. Left out: both' })),
    roomId: Type.Optional(roomId),
    cursor: Type.Optional(Type.String({ maxLength: 256, description: '`nextCursor` of the page before' })),
    limit: pageLimit,
  },
  strict,
)
export const reportsPage = Type.Object({
  reports: Type.Array(
    Type.Object({
      roomId: Type.String(),
      seq: seq("The report's place in the room"),
      messageId: Type.String(),
      messageSeq: seq("The message's"),
      senderId: nullable(Type.String({ description: 'Of the message' })),
      content: nullable(Type.String({ description: 'Its last revision, also where participants see it no more; null: erased' })),
      reportedBy: Type.String(),
      reason: Type.String({ examples: [...reportReasons] }),
      note: nullable(Type.String()),
      timestamp: timeMs('When it was reported'),
      state: Type.String({ examples: ['open', 'closed'] }),
      redacted: nullable(Type.String({ description: 'Why the message is not shown any more' })),
    }),
    { description: 'The newest first' },
  ),
  nextCursor: nullable(Type.String({ description: '`cursor` for the next page; null at the end' })),
})
