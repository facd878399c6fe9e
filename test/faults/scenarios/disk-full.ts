import { execFileSync } from 'node:child_process'
import { chownSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import type { FaultContext } from '../harness/round.ts'
import type { World } from '../harness/world.ts'

const TABLES = Array.from({ length: 8 }, (_, i) => `message_contents_p${i}`)
const DISK_MB = 32

/** A full disk under the messages' contents: how it is made, and unmade. */
type Disk = { readonly isReal: boolean; fill(): Promise<void>; free(): Promise<void>; close(): Promise<void> }

/**
 * Postgres refuses rows for want of space (SQLSTATE 53100), and later has space again. Where this user may mount one, a
 * small file system holds a tablespace and is filled; elsewhere a trigger says what Postgres would say.
 */
export async function diskFull({ world, random, say, times, seen, violated, figures }: FaultContext): Promise<void> {
  const admin = new pg.Client({ connectionString: databaseOf(world, world.stack.postgresAdminUrl) })
  await admin.connect()
  let disk: Disk | undefined
  try {
    disk = await realDisk(admin).catch(() => triggerDisk(admin))
    figures['real file system'] = Number(disk.isReal)
    for (let i = 0; i < times; i++) {
      const refusedBefore = refusals(world)
      say(`the disk is full (${disk.isReal ? 'a small file system' : 'by a trigger'})`)
      const before = await seen()
      await disk.fill()
      try {
        // What is free in the pages that are there is used first.
        for (let waited = 0; refusals(world) === refusedBefore && waited < 60_000; waited += 200) await pause(200)
        await pause(3_000 + random() * 5_000)
        if (refusals(world) === refusedBefore) violated('Postgres refused nothing: the case was not hit')
        if ((await seen()) === before) violated('nobody saw anything new while the disk was full')
      } finally {
        await disk.free()
      }
      figures['refused batches'] = (figures['refused batches'] ?? 0) + refusals(world) - refusedBefore
      await pause(3_000)
    }
  } finally {
    await disk?.close().catch((err: unknown) => say(`the small disk is still there: ${err}`))
    await admin.end()
  }
}

async function realDisk(admin: pg.Client): Promise<Disk> {
  const { rows } = await admin.query('SHOW data_directory')
  const owner = statSync(rows[0].data_directory)
  const dir = mkdtempSync('/var/tmp/order-chat-small-disk-')
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_MB}m,mode=700`, 'tmpfs', dir], { stdio: 'pipe' })
  } catch (err) {
    rmSync(dir, { recursive: true })
    throw err
  }
  const unmount = (): void => {
    execFileSync('umount', ['--lazy', dir], { stdio: 'pipe' })
    rmSync(dir, { recursive: true })
  }
  try {
    chownSync(dir, owner.uid, owner.gid)
    await admin.query(`CREATE TABLESPACE small_disk LOCATION '${dir}'`)
    for (const table of TABLES) await admin.query(`ALTER TABLE ${table} SET TABLESPACE small_disk`)
  } catch (err) {
    unmount()
    throw err
  }
  const filler = `${dir}/filler`
  return {
    isReal: true,
    fill: async () => fillUp(filler),
    free: async () => rmSync(filler, { force: true }),
    close: async () => {
      for (const table of TABLES) await admin.query(`ALTER TABLE ${table} SET TABLESPACE pg_default`)
      // Files of moved tables go at a checkpoint.
      await admin.query('CHECKPOINT')
      await admin.query('DROP TABLESPACE small_disk')
      unmount()
    },
  }
}

function fillUp(file: string): void {
  const block = Buffer.alloc(4_096)
  for (;;) {
    try {
      writeFileSync(file, block, { flag: 'a' })
    } catch (err) {
      if ((err as { code?: string }).code === 'ENOSPC') return
      throw err
    }
  }
}

async function triggerDisk(admin: pg.Client): Promise<Disk> {
  await admin.query(`
    CREATE FUNCTION refuse_for_want_of_space() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
    END $$`)
  return {
    isReal: false,
    fill: async () => void (await admin.query('CREATE TRIGGER disk_full BEFORE INSERT ON room_events FOR EACH ROW EXECUTE FUNCTION refuse_for_want_of_space()')),
    free: async () => void (await admin.query('DROP TRIGGER IF EXISTS disk_full ON room_events')),
    close: async () => void (await admin.query('DROP FUNCTION refuse_for_want_of_space')),
  }
}

/** How often the persisters have been refused so far. */
function refusals(world: World): number {
  return world.crew.ids('message-persister').reduce((sum, id) => sum + world.system.process(id).log().split('No space left on device').length - 1, 0)
}

function databaseOf({ system }: World, adminUrl: string): string {
  const url = new URL(adminUrl)
  url.pathname = new URL(system.names.postgresUrl).pathname
  return url.href
}
