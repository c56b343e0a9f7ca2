// Columns that grow: rows whose iteration is not beyond the last one are known already.
export class Columns {
  constructor(names) {
    this.names = names;
    this.clear();
  }

  clear() {
    for (const name of ["iteration", ...this.names]) this[name] = [];
  }

  push(iteration, row) {
    if (iteration <= (this.iteration.at(-1) ?? -1)) return false;
    this.iteration.push(iteration);
    for (const name of this.names) this[name].push(row[name] ?? null);
    return true;
  }

  table() {
    return [this.iteration, ...this.names.map((name) => this[name])];
  }
}
