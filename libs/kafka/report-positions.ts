import type { Logger } from '#libs/runtime/logger.ts'
import type { TopicName } from '#libs/streams/topics.ts'
import type { PositionedConsumer } from './positioned-consumer.ts'
import type { OffsetsAdmin } from './topics-admin.ts'

export type ReportedPosition = { readonly topic: TopicName; readonly partition: number; readonly next: bigint }

/** Tells the group's offsets and the lag, for people's tools and dashboards alone: correctness reads neither. */
export function reportPositions(
  { consumer, offsets, logger }: { readonly consumer: PositionedConsumer; readonly offsets: OffsetsAdmin; readonly logger: Logger },
  positions: readonly ReportedPosition[],
  onLag: (position: ReportedPosition, lag: number) => void,
): void {
  // A rebalance may just be on: the next tick commits again.
  consumer.commit(positions).catch((err: unknown) => logger.debug({ err }, 'offsets were not committed'))
  for (const topic of new Set(positions.map((p) => p.topic))) {
    offsets
      .ranges(topic)
      .then((ranges) => {
        for (const p of positions) if (p.topic === topic) onLag(p, Number((ranges[p.partition]?.high ?? p.next) - p.next))
      })
      .catch((err: unknown) => logger.debug({ err }, 'lag is not known'))
  }
}
