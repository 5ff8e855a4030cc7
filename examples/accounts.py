"""Pages of persons who are logged in: what all share, what a team shares, and what is one's own.

    pip install Flask-Login
    flask --app examples/accounts run

Anybody may be ann here; what matters is what comes after the password:

    curl -i -c ann 127.0.0.1:5000/login/ann     log in as ann, bob (both red) or cleo (blue)
    curl -i -b ann 127.0.0.1:5000/catalogue     reads nobody: one answer for all
    curl -i -b ann 127.0.0.1:5000/              greets: visitors share, ann's is computed each time
    curl -i -b ann 127.0.0.1:5000/orders        hers, stored under her id, and private
    curl -i -b ann 127.0.0.1:5000/team          bob, who is in her team, gets the same
    curl -i -b ann -X POST 127.0.0.1:5000/orders -d item=tea     purges everybody's orders
    curl -i 127.0.0.1:5000/orders               401: login_required guards stored answers, too
"""

import time
from collections import defaultdict

from flask import Flask, request
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user

from aswr import CacheManager

app = Flask(__name__)
app.secret_key = "an example's"
manager = CacheManager(app)
logins = LoginManager(app)

TEAMS = {"ann": "red", "bob": "red", "cleo": "blue"}
orders_of: dict[str, list[str]] = defaultdict(list)


class User(UserMixin):
    """A person and his team."""

    def __init__(self, name: str) -> None:
        self.id = name
        self.team = TEAMS[name]


@logins.user_loader
def load_user(name: str) -> User:
    return User(name)


def slowly() -> str:
    """Half a second of work."""
    time.sleep(0.5)
    return time.strftime("%H:%M:%S")


@app.get("/login/<any(ann, bob, cleo):name>")
def login(name: str) -> str:
    login_user(User(name))
    return f"hello {name}\n"


@app.get("/catalogue")
@manager.cacher(timeout=60)
def catalogue() -> str:
    return f"tea and coffee, at {slowly()}\n"


@app.get("/")
@manager.cacher(timeout=60)
def home() -> str:
    who = current_user.id if current_user.is_authenticated else "visitor"
    return f"hello {who}, at {slowly()}\n"


@app.get("/orders")
@login_required  # above the cache: it is asked for each answer
@manager.cacher(timeout=60, scope=lambda: current_user.id)
def orders() -> str:
    return f"{current_user.id} has {orders_of[current_user.id]}, at {slowly()}\n"


@app.get("/team")
@login_required
@manager.cacher(timeout=60, scope=lambda: current_user.team)
def team() -> str:
    # Shared by a team, so of the person it may show nothing but the team.
    members = [name for name, team in TEAMS.items() if team == current_user.team]
    return f"{current_user.team}: {', '.join(members)}, at {slowly()}\n"


@app.post("/orders")
@login_required
def order() -> str:
    orders_of[current_user.id].append(request.form["item"])
    return "thank you\n"  # a POST that succeeds purges its own URL, in every scope


if __name__ == "__main__":
    app.run()
