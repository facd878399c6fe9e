/** For small servers and short lives: less to compile, less memory for it. */
export const LIGHT_JVM = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC'] as const

/*
 * Tried and left out: class archives (-XX:ArchiveClassesAtExit). They take 2 s off a second
 * start of the servers, and make the first Ctrl-C take 8 s instead of 1 s to write them.
 */
