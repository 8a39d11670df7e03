/// <reference path="../pb_data/types.d.ts" />
migrate(
  (app) => {
    const notes = new Collection({
      type: "base",
      name: "notes",
      // Whoever can reach the server may read and add: for trying it out, not for production.
      listRule: "",
      viewRule: "",
      createRule: "",
      fields: [{ type: "text", name: "text", required: true }],
    });
    app.save(notes);
  },
  (app) => app.delete(app.findCollectionByNameOrId("notes")),
);
