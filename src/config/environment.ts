/** The environment of this process; the only place that reads it. */
export function processEnvironment(): NodeJS.ProcessEnv {
  return process.env
}
