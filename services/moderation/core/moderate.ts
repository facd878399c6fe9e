import { codePoints, isStorable } from '#libs/domain/decide-parts.ts'
import { ChatError, type ErrorCode } from '#libs/domain/errors.ts'
import type { UserId } from '#libs/domain/ids.ts'
import type { RoomCommand } from '#libs/domain/inputs.ts'
import { fixedLimits } from '#libs/domain/limits.ts'
import { parsePayload } from '#libs/domain/payload.ts'
import { commandIdOf, type Refused, type Said } from './said.ts'
import type { Slots } from './slots.ts'

export type Verdict = 'allow' | 'redact' | 'too_old' | 'dead_letter'

export type ModerationPorts = {
  /** The text of the answer. @throws ChatError `unavailable`, `delivery_refused` */
  readonly ask: (id: string, body: string) => Promise<string>
  /** Resolves when the command is durable. */
  readonly send: (command: RoomCommand, traceparent: string | undefined) => Promise<void>
  /** Resolves when the dead letter is durable. */
  readonly deadLetter: (letter: { readonly key: string; readonly body: string; readonly code: ErrorCode | string; readonly reason: string }) => Promise<void>
  readonly slots: Slots
  readonly senderId: UserId
  readonly ageMaxMs: number
  readonly nowMs: () => number
  readonly onVerdict: (verdict: Verdict) => void
}

/**
 * Has everything judged that was said, and sends what shall be redacted to the log. Resolves when each is done with: asked
 * about and acted upon, or dead-lettered. What is in `done` already is not asked again, so that a batch that is tried
 * again goes on where it stood.
 * @throws ChatError `unavailable` once nothing is on its way any more
 */
export async function moderate(ports: ModerationPorts, facts: readonly (Said | Refused)[], done: Set<string>, signal: AbortSignal): Promise<void> {
  const results = await Promise.allSettled(
    facts.map((fact) =>
      ports.slots.take(async () => {
        const key = fact.kind === 'said' ? fact.id : fact.commandId
        if (done.has(key) || signal.aborted) return
        await (fact.kind === 'said' ? judge(ports, fact) : complain(ports, fact))
        done.add(key)
      }),
    ),
  )
  for (const result of results) if (result.status === 'rejected') throw result.reason
  // Not all were asked about.
  signal.throwIfAborted()
}

async function judge(ports: ModerationPorts, said: Said): Promise<void> {
  const { roomId, event, id } = said
  if (event.timestampMs < ports.nowMs() - ports.ageMaxMs) return ports.onVerdict('too_old')
  const body = JSON.stringify(questionOf(said))
  let reason: string | undefined
  try {
    reason = verdictOf(await ports.ask(id, body))
  } catch (err) {
    if (!(err instanceof ChatError) || err.code !== 'delivery_refused') throw err
    await ports.deadLetter({ key: roomId, body, code: err.code, reason: err.message })
    return ports.onVerdict('dead_letter')
  }
  if (reason === undefined) return ports.onVerdict('allow')
  const { messageId } = event
  const messageSeq = event.type === 'messageSent' ? event.seq : event.messageSeq
  await ports.send({ type: 'redactMessage', roomId, commandId: commandIdOf(id), senderId: ports.senderId, clientMessageId: id, messageId, messageSeq, reason }, said.traceparent)
  ports.onVerdict('redact')
}

async function complain(ports: ModerationPorts, { roomId, commandId, code }: Refused): Promise<void> {
  await ports.deadLetter({ key: roomId, body: JSON.stringify({ roomId, commandId }), code, reason: 'the log has refused a redaction' })
  ports.onVerdict('dead_letter')
}

/** What is asked: docs/architecture.md, "Moderation". */
function questionOf({ roomId, event }: Said): object {
  const { seq, timestampMs, messageId, content } = event
  const of = { roomId, seq, messageId, timestampMs }
  if (event.type === 'messageEdited') return { type: 'message.edited', ...of, messageSeq: event.messageSeq, revision: event.revision, senderId: event.by, content }
  const { senderId, messageType, payload } = event
  return { type: 'message.sent', ...of, messageSeq: seq, senderId, content, ...(messageType && { messageType }), ...parsePayload(payload) }
}

/** Why it shall be redacted; undefined: it may stay. @throws ChatError `delivery_refused` for an answer that says neither */
export function verdictOf(text: string): string | undefined {
  if (text.trim() === '') return undefined
  const answer = parsed(text)
  if (answer?.action === 'allow') return undefined
  const { reason } = answer ?? {}
  const isReason = typeof reason === 'string' && reason !== '' && isStorable(reason) && codePoints(reason, fixedLimits.noteCharsMax) <= fixedLimits.noteCharsMax
  if (answer?.action === 'redact' && isReason) return reason
  throw new ChatError('delivery_refused', `the webhook's answer is neither {"action":"allow"} nor {"action":"redact","reason":"…"} with 1 to ${fixedLimits.noteCharsMax} characters`)
}

function parsed(text: string): { action?: unknown; reason?: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}
