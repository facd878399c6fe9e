/**
 * Splits a batch so that what belongs together stays in order: one lane for each key, in the order of the batch, and one
 * for each item without a key. Lanes may run side by side, the items of a lane may not.
 */
export function lanesOf<T>(items: readonly T[], keyOf: (item: T) => string | undefined): readonly (readonly T[])[] {
  const lanes: T[][] = []
  const byKey = new Map<string, T[]>()
  for (const item of items) {
    const key = keyOf(item)
    const lane = key === undefined ? undefined : byKey.get(key)
    if (lane) {
      lane.push(item)
      continue
    }
    const opened = [item]
    lanes.push(opened)
    if (key !== undefined) byKey.set(key, opened)
  }
  return lanes
}
