// Asks for /status.json every two seconds and replaces texts and plots. All of them were made by
// the server; if more than they have changed, the page is taken anew.
(() => {
  'use strict';
  const EVERY = 2000, HIDDEN = 30000, PATIENCE = 8000;
  const gone = document.getElementById('gone');
  let last = new Date(), timer = 0;

  const main = () => document.getElementById('main');
  const clock = (date) => date.toISOString().slice(0, 19).replace('T', ' ') + ' UTC';
  const ask = async (url) => {
    const answer = await fetch(url, { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok && answer.status !== 404) throw new Error(String(answer.status));
    return answer;
  };

  function fill(root, shown) {
    for (const at of root.querySelectorAll('[data-k]')) {
      const text = shown[at.dataset.k];
      if (text !== undefined && at.textContent !== text) at.textContent = text;
    }
    for (const at of root.querySelectorAll('[data-a]')) {
      const [key, name] = at.dataset.a.split(' ');
      if (shown[key] !== undefined) at.setAttribute(name, shown[key]);
    }
  }

  async function renew() {
    const query = new URLSearchParams(location.search);
    query.set('renew', '1');
    const text = await (await ask('./?' + query)).text();
    const fresh = new DOMParser().parseFromString(text, 'text/html');
    // What is being typed is kept, and so is where.
    const typed = new Map([...main().querySelectorAll('input[id]')].map((input) => [input.id, input.value]));
    const focus = document.activeElement && document.activeElement.id;
    main().replaceWith(document.adoptNode(fresh.getElementById('main')));
    document.title = fresh.title;
    for (const [id, value] of typed) {
      const input = document.getElementById(id);
      if (input) input.value = value;
    }
    if (focus && document.getElementById(focus)) document.getElementById(focus).focus();
    begin();
  }

  async function round() {
    try {
      const now = await (await ask('./status.json' + location.search)).json();
      if (now.structure !== main().dataset.structure) await renew();
      fill(main(), now.shown);
      for (const database of now.databases) {
        const section = document.getElementById('db-' + database.id);
        if (section) fill(section, database.shown);
      }
      last = new Date();
      gone.hidden = true;
      document.body.classList.remove('stale');
    } catch (error) {
      const words = 'No answer from millstream since ' + clock(last) + ': what is below may be out of date.';
      if (gone.textContent !== words) gone.textContent = words;
      gone.hidden = false;
      document.body.classList.add('stale');
    }
    timer = setTimeout(round, document.hidden ? HIDDEN : EVERY);
  }

  // Needs a page that came from this machine or by TLS; elsewhere the text is selected instead.
  async function copy(button) {
    const code = button.parentElement.querySelector('code');
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = 'Copied';
    } catch (error) {
      getSelection().selectAllChildren(code);
      button.textContent = 'Selected';
    }
    setTimeout(() => { button.textContent = 'Copy'; }, 2000);
  }

  function begin() {
    for (const button of main().querySelectorAll('button.copy')) {
      button.hidden = false;
      button.addEventListener('click', () => copy(button));
    }
    const live = document.getElementById('live');
    if (live) live.textContent = 'It is kept up to date.';
  }

  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) { clearTimeout(timer); round(); }
  });
  begin();
  timer = setTimeout(round, EVERY);
})();
