// A table of columns that grows by rows. A row whose iteration is not beyond the last one is ignored as a duplicate.
export class Columns {
  constructor(names) {
    this.names = names;
    this.clear();
  }

  clear() {
    this.iteration = [];
    this.columns = new Map(this.names.map((name) => [name, []]));
  }

  // A column that the rows so far have no value for; nothing where it is there already.
  add(name) {
    if (this.columns.has(name)) return;
    this.names.push(name);
    this.columns.set(name, this.iteration.map(() => null));
  }

  column(name) {
    return this.columns.get(name);
  }

  push(iteration, row) {
    if (iteration <= (this.iteration.at(-1) ?? -1)) return false;
    this.iteration.push(iteration);
    for (const name of this.names) this.column(name).push(row[name] ?? null);
    return true;
  }

  table() {
    return [this.iteration, ...this.names.map((name) => this.column(name))];
  }
}
