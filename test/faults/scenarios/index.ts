import type { FaultContext } from '../harness/round.ts'
import { brokers } from './brokers.ts'
import { control } from './control.ts'
import { diskFull } from './disk-full.ts'
import { kill } from './kill.ts'
import { network, postgres, redis, registry, stalledAnswers } from './outages.ts'
import { handover, rolling } from './restarts.ts'
import { lateAppends, lateMarkers, zombie } from './zombie.ts'

export type Scenario = {
  readonly name: string
  readonly what: string
  /** How many of its faults: in a full run, and in a quick one. */
  readonly times: { readonly full: number; readonly quick: number }
  readonly fault: (context: FaultContext) => Promise<void>
}

export const scenarios: readonly Scenario[] = [
  { name: 'kill', what: 'SIGKILL of room-state, persister, edge, inbox and bridge', times: { full: 200, quick: 8 }, fault: kill },
  { name: 'zombie', what: 'SIGSTOP for longer than the session, then SIGCONT', times: { full: 12, quick: 1 }, fault: zombie },
  { name: 'late-appends', what: "a former owner's appends land behind its successor's marker", times: { full: 10, quick: 1 }, fault: lateAppends },
  { name: 'late-markers', what: "an owner's marker lands behind a later one of its own", times: { full: 6, quick: 1 }, fault: lateMarkers },
  { name: 'brokers', what: 'a broker is killed, loses its leaders, is restarted', times: { full: 9, quick: 2 }, fault: brokers },
  { name: 'stalled-answers', what: "Kafka's answers are held for longer than anybody waits", times: { full: 12, quick: 2 }, fault: stalledAnswers },
  { name: 'control', what: 'the same with a plain idempotent kafkajs producer, which loses', times: { full: 6, quick: 1 }, fault: control },
  { name: 'network', what: 'cut, late and slow wires', times: { full: 12, quick: 3 }, fault: network },
  { name: 'postgres', what: 'Postgres is restarted, killed, and gone for 30 s', times: { full: 4, quick: 1 }, fault: postgres },
  { name: 'redis', what: 'Redis is killed, or silent', times: { full: 4, quick: 1 }, fault: redis },
  { name: 'registry', what: 'the registry is gone or silent, while others are killed', times: { full: 2, quick: 1 }, fault: registry },
  { name: 'disk-full', what: 'Postgres refuses rows for want of space', times: { full: 2, quick: 1 }, fault: diskFull },
  { name: 'rolling', what: 'everything is restarted in order, one after the other', times: { full: 2, quick: 1 }, fault: rolling },
  { name: 'handover', what: 'what users feel of a room-state that leaves, comes or dies', times: { full: 10, quick: 1 }, fault: handover },
]
