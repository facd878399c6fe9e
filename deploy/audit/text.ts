import type { AuditReport } from './audit.ts'
import type { MessageAt, RoomAt } from './room-at.ts'

/** A report for people. */
export function textOf({ roomId, found, sources, notes, breaks, room }: AuditReport): string {
  if (!found) return `There is no room ${roomId}.`
  return [
    ...sources.map(
      ({ source, events, firstSeq, lastSeq, contentsVerified, contentsErased, headHash }) =>
        `${source}: ${events} events${events > 0 ? ` (seq ${firstSeq} to ${lastSeq})` : ''}, ${contentsVerified} contents as they were, ${contentsErased} erased${headHash ? `\n  hash of the last one: ${headHash}` : ''}`,
    ),
    ...notes.map((note) => `note: ${note}`),
    ...(breaks.length === 0 ? ['The chain is whole.'] : [`BROKEN, first at seq ${breaks[0]!.seq}:`, ...breaks.map(({ source, seq, kind, what }) => `  ${source === 'both' ? 'postgres/topic' : source} seq ${seq} [${kind}] ${what}`)]),
    ...(room ? roomLines(room) : ['The room cannot be shown: no source has it from its first event on.']),
  ].join('\n')
}

const at = (ms: number): string => new Date(ms).toISOString()

function roomLines({ seq, timestampMs, status, frozen, name, messageCount, participants, receipts, messages }: RoomAt): string[] {
  const cursors = new Map(receipts.map((receipt) => [receipt.userId as string, receipt]))
  return [
    '',
    `As it was at seq ${seq} (${at(timestampMs)}): ${status}${frozen ? ', frozen' : ''}${name === null ? '' : `, "${name}"`}, ${messageCount} messages`,
    ...participants.map(({ userId, role }) => {
      const { seen = 0, delivered = 0 } = cursors.get(userId) ?? {}
      return `  in: ${userId} (${role}), had seen ${seen} and got ${delivered}`
    }),
    ...receipts.filter(({ userId }) => !participants.some((one) => one.userId === userId)).map(({ userId, seen }) => `  out: ${userId}, had seen ${seen}`),
    ...messages.map(messageLine),
  ]
}

function messageLine({ seq, messageIndex, senderId, timestampMs, revision, content, deletedSeq, redacted, erased }: MessageAt): string {
  const marks = [
    ...(revision > 0 ? [`revision ${revision}`] : []),
    ...(redacted !== undefined ? [`redacted: ${redacted}`] : deletedSeq !== undefined ? [`deleted by seq ${deletedSeq}`] : []),
    ...(erased ? ['erased'] : []),
  ]
  return `  #${seq} (${messageIndex}) ${at(timestampMs)} ${senderId}: ${content === null ? '-' : JSON.stringify(content)}${marks.length > 0 ? ` [${marks.join(', ')}]` : ''}`
}
