import type { PresenceEvent } from '#libs/domain/presence.ts'

/** Between our type and the Avro record of schemas/presence-events.avsc. */
export function presenceEventToAvro({ userId, status, atMs, edgeId }: PresenceEvent): object {
  return { userId, status, atMs, edgeId }
}

export function presenceEventFromAvro(value: unknown): PresenceEvent {
  return { ...(value as PresenceEvent) }
}
