/** Where the KEK and the other secrets of an installation live. */
export interface SecretStore {
  /**
   * What a bundle keeps as `secrets.env`: the file as it is, or, where there is none, the portable values in force.
   * @throws AppError `preflight` the file exists and cannot be read
   */
  capture(): Promise<Buffer>
}
