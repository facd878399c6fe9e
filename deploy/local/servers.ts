import { createHash } from 'node:crypto'
import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { StackError } from './config.ts'
import { requireDisk } from './disk.ts'
import { run } from './run.ts'
import { type Machine, mavenProgram, ownRun } from './tools.ts'

const POMS = fileURLToPath(new URL('./maven/', import.meta.url))
/** The servers, and Maven's own copy of what it downloads. */
const DISK_NEEDED_MB = 800
const POM_FILES = ['pom.xml', 'kafka/pom.xml', 'elasticmq/pom.xml', 'registry/pom.xml', 's3proxy/pom.xml']

/** The folder of Kafka, ElasticMQ, the registry and S3Proxy in just the versions that the POMs pin. */
export function serverFolder(cacheDir: string): string {
  const hash = createHash('sha256')
  for (const file of POM_FILES) hash.update(readFileSync(path.join(POMS, file)))
  return path.join(cacheDir, `servers-${hash.digest('hex').slice(0, 12)}`)
}

/** Fills the folder once. It appears by a rename, so a folder that is there is complete. */
export async function downloadServers(dir: string, machine: Machine): Promise<void> {
  if (existsSync(dir)) return
  const cacheDir = path.dirname(dir)
  requireDisk(cacheDir, DISK_NEEDED_MB, 'the download of the servers')
  const mvn = await mavenProgram(machine)
  const fresh = `${dir}.${process.pid}`
  try {
    await machine.progress.step('Downloading Kafka, Apicurio Registry, ElasticMQ and S3Proxy with Maven (about 220 MB)', async (note) => {
      let files = 0
      const onLine = (line: string): void => {
        if (/Downloaded from/.test(line)) note(`${++files} files so far`)
      }
      const args = ['-B', '-f', path.join(POMS, 'pom.xml'), 'generate-resources', `-Dservers.dir=${fresh}`]
      const { ok, output } = await run(mvn, args, { ...ownRun(machine), onLine })
      if (!ok) throw new StackError(`Maven could not download the servers:\n${output.trimEnd().split('\n').slice(-15).join('\n')}`)
    })
    if (!existsSync(dir)) renameSync(fresh, dir)
  } finally {
    rmSync(fresh, { recursive: true, force: true })
  }
}
